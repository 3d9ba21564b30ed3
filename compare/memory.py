"""Memory that servers take: idle, and for each key of 16 + 32 bytes. Prints a table; see docs/benchmarks.md.

    python3 compare/memory.py [--keys 1000000]

Resident memory of each process before and after `pannier bench --fill` has written every key once, after a second of
rest; each server in its default settings without persistence.
"""

import argparse
import subprocess
import sys
import time

import servers


def fill(server, keys):
    protocol = server.protocols[0]
    command = [servers.PANNIER, "bench", "--server", server.address, "--protocol", protocol, "--keys", str(keys),
               "--key-size", "16", "--value-size", "32", "--fill", "--requests", "1", "--connections", "1", "--pipeline", "100"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"memory: {server.name}: {result.stderr.strip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    options = parser.parse_args()
    try:
        known = servers.known()
    except servers.Missing as error:
        sys.exit(f"memory: {error}")
    print(f"| server | idle, MiB resident | bytes for each of {options.keys:,} keys of 16 + 32 bytes |")
    print("|---|---|---|")
    for server in known:
        try:
            server.start()
            time.sleep(1)
            idle = server.resident_mib()
            fill(server, options.keys)
            time.sleep(1)
            grown = (server.resident_mib() - idle) * 2**20
            print(f"| {server.name} {server.version} | {idle:.1f} | {grown / options.keys:.1f} |", flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
