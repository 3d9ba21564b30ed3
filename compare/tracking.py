#!/usr/bin/env python3
"""Memory of a server for each key that a client with a cache has read (CLIENT TRACKING), side by side.

    compare/tracking.py PANNIER [REDIS]    binaries; `redis-server` is taken from the path by default

Four clients read keys that do not exist, so that nothing is stored but who has read what: 100,000 keys each, in all three
quarters of what the table of Pannier with 512 MiB has entries for. Shown is what INFO counts (`tracking_total_items`), how much
resident memory (VmRSS) has grown, and of Redis `used_memory` too. Pannier's table has a fixed size, of which pages are
touched as they are used: its whole size for each of its entries is what it never exceeds.
"""
import sys
import tempfile

from process import command, free_port
from pubsub import connect, start
from subscribers import resident_kib

CLIENTS = 4
EACH = 100_000


class Lines:
    """A connection that answers line by line."""

    def __init__(self, port):
        self.socket = connect(port)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        """The answer to a command; of an array, its last element."""
        self.socket.sendall(command(*words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if line[:1] in b"*>%":
            count = int(line[1:]) * (2 if line[:1] == b"%" else 1)
            return ([self.reply() for _ in range(count)] or [b""])[-1]
        return self.file.read(int(line[1:]) + 2)[:-2] if line[:1] == b"$" and line != b"$-1\r\n" else line

    def info(self, name):
        text = self.ask("INFO", "everything").decode()
        return next(int(line.split(":")[1]) for line in text.split("\r\n") if line.startswith(name + ":"))


def measure(name, words, port):
    process = start(words, port)
    try:
        observer, clients = Lines(port), [Lines(port) for _ in range(CLIENTS)]
        for client in clients:
            client.ask("HELLO", "3")
            client.ask("CLIENT", "TRACKING", "ON")
            client.ask("GET", "a key")
        entries = int(observer.ask("CONFIG", "GET", "tracking-table-max-keys"))
        resident, used = resident_kib(process, "VmRSS"), observer.info("used_memory")
        for client in clients:
            for first in range(0, EACH, 50):
                client.socket.sendall(b"".join(command("GET", f"user:{at:011}") for at in range(first, first + 50)))
                for _ in range(50):
                    client.reply()
        pairs = CLIENTS * EACH
        grown = 1024 * (resident_kib(process, "VmRSS") - resident)
        print(f"{name}: {pairs} times a key was read by a client that tracks; INFO counts {observer.info('tracking_total_items')}; "
              f"resident memory has grown by {grown / pairs:.1f} bytes each, used_memory by "
              f"{(observer.info('used_memory') - used) / pairs:.1f}; at most {entries} entries")
    finally:
        process.kill()


def main():
    pannier, redis = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "redis-server"
    port = free_port()
    measure("pannier", [pannier, "serve", "--tcp", f"127.0.0.1:{port}", "--udp", "off", "--admin", "off",
                        "--memory", "512MiB"], port)
    port = free_port()
    measure("redis", [redis, "--port", str(port), "--save", "", "--dir", tempfile.gettempdir()], port)


if __name__ == "__main__":
    main()
