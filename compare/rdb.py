#!/usr/bin/env python3
"""Keys of Redis into Pannier and back, and whether all are the same: the figures of docs/durability.md.

    compare/rdb.py [--quick] [--keys N] PANNIER [REDIS]    binaries; `redis-server` is taken from the path by default

A Redis is filled with strings (short, long, numbers), hashes and sets (small and large), some with expiries, in four databases.
What it saves is imported into a running Pannier and into a data directory on which one is started then; each is exported, and a
Redis loads the file. Every key of all of them is compared with the first one's: type, value, expiry. Exit code 1: one differs.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from process import Process, command, connect

DATABASES = [0, 1, 5, 15]
EXPIRY_MS = 4_000_000_000_000
BATCH = 500
READERS = {b"string": b"GET", b"hash": b"HGETALL", b"set": b"SMEMBERS"}


class Client:
    """Sends many commands at once, then reads their replies."""

    def __init__(self, port):
        self.socket = connect(port)
        self.source = self.socket.makefile("rb", 1 << 20)

    def run(self, commands):
        self.socket.sendall(b"".join(commands))
        return [self.reply() for _ in commands]

    def one(self, *words):
        return self.run([command(*words)])[0]

    def reply(self):
        line = self.source.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.source.read(length + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-" or not line:
            raise SystemExit(f"a server answered {line!r}")
        return rest


def redis(binary, directory):
    return Process([binary, "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--dir", directory,
                    "--appendonly", "no", "--enable-debug-command", "yes"])


def pannier(binary, memory, *flags):
    return Process([binary, "serve", "--tcp", "127.0.0.1:{port}", "--udp", "off", "--admin", "off", "--memory", memory, *flags])


def text(choice, length):
    return choice.getrandbits(8 * length).to_bytes(length, "little") if length else b""


def make(number, choice):
    """The commands that make a key: of what kind goes by its number."""
    key, kind = f"key:{number}".encode(), number % 20
    if kind < 6:
        made = command("SET", key, text(choice, choice.randrange(60)))
    elif kind < 9:
        made = command("SET", key, choice.getrandbits(choice.randrange(1, 63)) - (1 << 20))
    elif kind < 10:
        length = choice.randrange(60_000, 600_000) if number % 5_000 == 9 else choice.randrange(100, 2_000)
        made = command("SET", key, b"abcdefgh" * (length // 8) if number % 40 == 29 else text(choice, length))
    elif kind < 15:
        fields = 600 if number % 1_000 == 10 else choice.randrange(1, 12)
        words = [word for field in range(fields) for word in (f"field:{field}", text(choice, choice.randrange(40)))]
        made = command("HSET", key, *words)
    else:
        members = 1_200 if number % 1_000 == 15 else choice.randrange(1, 12)
        if number % 2:
            words = [choice.getrandbits(choice.randrange(1, 63)) for _ in range(members)]
        else:
            words = [f"member:{choice.getrandbits(40)}" for _ in range(members)]
        made = command("SADD", key, *words)
    if number % 4 == 1:
        return [made, command("PEXPIREAT", key, EXPIRY_MS + number)]
    return [made]


def numbers(keys, database):
    """Those of the keys of one of the databases, in batches."""
    part = -(-keys // len(DATABASES))
    index = DATABASES.index(database)
    end = min(keys, (index + 1) * part)
    for first in range(index * part, end, BATCH):
        yield range(first, min(end, first + BATCH))


def fill(port, keys):
    client, choice = Client(port), random.Random(7)
    for database in DATABASES:
        client.one("SELECT", database)
        for batch in numbers(keys, database):
            client.run([made for number in batch for made in make(number, choice)])


def contents(client, batch):
    """Of each of these keys the type, the expiry, and the value in an order of its own."""
    names = [f"key:{number}".encode() for number in batch]
    types = client.run([command("TYPE", name) for name in names])
    # A key that is missing is read as a string.
    reads = [command(READERS.get(kind, b"GET"), name) for kind, name in zip(types, names)]
    times = [command("PEXPIRETIME", name) for name in names]
    replies = client.run(reads + times)
    values = []
    for kind, value in zip(types, replies):
        if kind == b"hash":
            value = sorted(zip(value[::2], value[1::2]))
        values.append(sorted(value) if kind == b"set" else value)
    return list(zip(names, types, replies[len(reads):], values))


def differences(keys, one, other):
    """Keys in which two servers differ, and how many of each type there are."""
    clients, count, kinds = [Client(one.port), Client(other.port)], 0, {}
    for database in DATABASES:
        for client in clients:
            client.one("SELECT", database)
        sizes = [client.one("DBSIZE") for client in clients]
        count += abs(sizes[0] - sizes[1])
        for batch in numbers(keys, database):
            expected, found = (contents(client, batch) for client in clients)
            for left, right in zip(expected, found):
                kinds[left[1].decode()] = kinds.get(left[1].decode(), 0) + 1
                if left != right or left[1] == b"none":
                    count += 1
                    print(f"database {database}: {left[0].decode()} differs: {left[1:3]}, {right[1:3]}", file=sys.stderr)
    return count, kinds


def timed(words):
    begun = time.monotonic()
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {result.stdout}{result.stderr}")
    return time.monotonic() - begun, result.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="20,000 keys")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--memory", default="4GiB", help="of Pannier")
    parser.add_argument("pannier")
    parser.add_argument("redis", nargs="?", default=shutil.which("redis-server"))
    options = parser.parse_args()
    if not options.redis:
        raise SystemExit("there is no redis-server in the path: install one, or name it")
    keys = 20_000 if options.quick else options.keys
    memory = "512MiB" if options.quick else options.memory
    scratch = tempfile.mkdtemp(prefix="rdb-")
    servers = []

    def started(server):
        servers.append(server)
        return server

    def path(name, *below):
        os.makedirs(os.path.join(scratch, name), exist_ok=True)
        return os.path.join(scratch, name, *below)

    def rate(seconds):
        return f"{seconds:.1f} s, {keys / seconds / 1000:.0f} thousand keys a second"

    wrong = 0
    try:
        source = started(redis(options.redis, path("source")))
        begun = time.monotonic()
        fill(source.port, keys)
        print(f"redis: {keys} keys in {time.monotonic() - begun:.1f} s, resident {source.resident_mib()} MiB", flush=True)
        begun = time.monotonic()
        Client(source.port).one("SAVE")
        dump = path("source", "dump.rdb")
        size = os.path.getsize(dump) >> 20
        print(f"redis: SAVE in {time.monotonic() - begun:.1f} s, {size} MiB", flush=True)

        live = started(pannier(options.pannier, memory))
        took, said = timed([options.pannier, "import", dump, "--server", f"127.0.0.1:{live.port}", "--timeout", "60s"])
        print(f"import into a server: {rate(took)}; the server's resident memory: {live.resident_mib()} MiB")
        print("  " + said.strip().replace("\n", "\n  "), flush=True)
        data = path("data")
        took, said = timed([options.pannier, "import", dump, "--data-dir", data, "--memory", memory])
        print(f"import into a directory: {rate(took)}")
        stored = started(pannier(options.pannier, memory, "--data-dir", data))
        print(f"a server on that directory has loaded it after {stored.started_s:.1f} s", flush=True)
        for name, server in [("the server", live), ("the directory's server", stored)]:
            count, kinds = differences(keys, source, server)
            wrong += count
            print(f"compared with {name}: {kinds}; keys that differ: {count}", flush=True)

        exported = path("exported", "dump.rdb")
        took, said = timed([options.pannier, "export", exported, "--server", f"127.0.0.1:{live.port}", "--timeout", "60s"])
        print(f"export: {rate(took)}; {os.path.getsize(exported) >> 20} MiB")
        print("  " + said.strip().replace("\n", "\n  "), flush=True)
        again = started(redis(options.redis, path("exported")))
        count, kinds = differences(keys, source, again)
        wrong += count
        print(f"redis loads the export in {again.started_s:.1f} s; {kinds}; keys that differ: {count}", flush=True)
        digests = [Client(server.port).one("DEBUG", "DIGEST") for server in (source, again)]
        print(f"DEBUG DIGEST of both: {'the same' if digests[0] == digests[1] else 'NOT the same'}")
        wrong += digests[0] != digests[1]
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(scratch)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
