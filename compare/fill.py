#!/usr/bin/env python3
"""How much of the memory limit holds values: sets values under new keys until the first is refused.

    compare/fill.py BINARY                    the cases of docs/memory.md
    compare/fill.py BINARY 64MiB 1024 FLAG…   one limit, one length of values in bytes, further flags of `serve`

Takes a few seconds; prints a line for each case.
"""

import re
import sys

from process import Process, command, connect

CASES = [("64MiB", 1024, ["--max-clients", "10000"]), ("64MiB", 1024, []), ("16MiB", 1024, [])]
PIPELINE = 100
MIB = 1 << 20


def fill(stream, length):
    """Sets values until one is refused; how many were set."""
    value, count = b"x" * length, 0
    while True:
        keys = [b"key:%012d" % number for number in range(count, count + PIPELINE)]
        stream.write(b"".join(command(b"SET", key, value) for key in keys))
        stream.flush()
        answers = [stream.readline() for _ in keys]
        count += sum(answer == b"+OK\r\n" for answer in answers)
        if not all(answer == b"+OK\r\n" for answer in answers):
            return count


def info(stream):
    stream.write(command("INFO", "memory"))
    stream.flush()
    text = stream.read(int(stream.readline()[1:]) + 2).decode()
    return {name: int(value) for name, value in re.findall(r"(\w+):(\d+)\r", text)}


def measure(binary, memory, length, flags):
    server = Process([binary, "serve", "--tcp", "127.0.0.1:{port}", "--udp", "off", "--admin", "off",
                      "--log-level", "error", "--memory", memory, *flags])
    try:
        stream = connect(server.port).makefile("rwb")
        count = fill(stream, length)
        figures = info(stream)
        used = figures["used_memory"] / figures["maxmemory"]
        parts = ", ".join(f"{name} {figures[f'store_{name}_bytes'] / MIB:.1f}"
                          for name in ("live", "dead", "free", "index", "reserved", "lent")
                          if f"store_{name}_bytes" in figures)
        print(f"{' '.join([memory, *flags])}: {count} values of {length} bytes, {count * length / MIB:.1f} MiB; INFO says "
              f"{used:.1%} used; resident {server.resident_mib()} MiB; of the store, in MiB: {parts}", flush=True)
    finally:
        server.stop()


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    binary, *case = sys.argv[1:]
    cases = CASES if not case else [(case[0], int(case[1]) if len(case) > 1 else 1024, case[2:])]
    for memory, length, flags in cases:
        measure(binary, memory, length, flags)


if __name__ == "__main__":
    main()
