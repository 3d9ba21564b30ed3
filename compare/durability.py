#!/usr/bin/env python3
"""What durability costs, beside Redis in one run: the figures of docs/durability.md.

    compare/durability.py [--quick] PANNIER [REDIS]    binaries; `redis-server` is taken from the path by default
    compare/durability.py --directory DIR ...          where the data goes: it should be on the disk that is meant
    compare/durability.py --checkpoint-gib N ...       only this: PING of others while a checkpoint of so much is written
    compare/durability.py --recover-keys N ...         only this: a start with so many keys, from the journal and from a checkpoint

Printed, each server alone on a free port with an empty directory:

1. everysec: processor time of the server for a pipelined SET with a journal, over that without one.
2. always, 50 clients with one SET at a time: writes a second, beside the disk's own syncs a second.
3. PING of another client meanwhile: the worst and the 99th percentile, and while a checkpoint runs.
4. replay: records a second of a start, from the journal and from a checkpoint.

What counts in 1 is the server's own processor time (/proc/PID/schedstat), so this script may be slow without harm. The
worst PING includes what the machine does to this script: a client that polls without a pause, at the same time, shows it.
"""
import argparse
import os
import re
import selectors
import shutil
import statistics
import tempfile
import threading
import time

from process import Process, command, connect

CLIENTS = 50
VALUE = b"v" * 64


class Server(Process):
    """A server of one kind; `mode` is None without a journal."""

    def __init__(self, binary, directory, mode, memory="1gb"):
        self.is_redis = "redis" in os.path.basename(binary)
        if self.is_redis:
            words = [binary, "--port", "{port}", "--save", "", "--dir", directory, "--maxmemory", memory]
            words += ["--appendonly", "yes", "--appendfsync", mode] if mode else ["--appendonly", "no"]
        else:
            words = [binary, "serve", "--tcp", "127.0.0.1:{port}", "--udp", "off", "--admin", "off"]
            words += ["--memory", memory.replace("gb", "GiB")]
            words += ["--data-dir", directory, "--durability", mode, "--journal-size", "64GiB"] if mode else []
        super().__init__(words)

    def ask(self, *words):
        with connect(self.port) as s:
            s.sendall(command(*words))
            return s.recv(1 << 16)

    def info(self, name):
        found = re.search(rf"{name}:(\S+)", self.ask("INFO", "persistence").decode())
        return found and found[1]

    def loaded(self):
        """What the log says of loading: records and seconds."""
        text = self.log_text()
        found = re.search(r"loaded in (\d+) ms: records (\d+)", text)
        if found:
            return int(found[2]), int(found[1]) / 1000
        # One line for each file, and one for all of them.
        found = re.findall(r"DB loaded from [^:]*: ([\d.]+) seconds", text)
        return None, max(map(float, found)) if found else self.started_s


def fill(port, count, value=VALUE, first=0):
    """SETs of as many keys, a hundred at a time."""
    with connect(port) as s:
        for at in range(first, first + count, 100):
            s.sendall(b"".join(command("SET", f"key:{key:010}", value) for key in range(at, at + 100)))
            got = 0
            while got < 500:
                got += len(s.recv(1 << 16))


def cpu_of_set(binary, directory, mode, count):
    server = Server(binary, directory, mode)
    fill(server.port, count // 5)
    before = server.cpu_ns()
    fill(server.port, count)
    spent = server.cpu_ns() - before
    server.stop()
    return spent / count


class Pinger(threading.Thread):
    """PINGs one after another; what each took, in milliseconds."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.socket, self.times, self.is_over = connect(port), [], False
        self.start()

    def run(self):
        while not self.is_over:
            begun = time.perf_counter()
            self.socket.sendall(b"PING\r\n")
            self.socket.recv(100)
            self.times.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.001)

    def end(self):
        self.is_over = True
        self.join()
        times = sorted(self.times)
        return times[-1], times[len(times) * 99 // 100]


def writes_a_second(port, seconds):
    """Of so many clients with one SET under way each."""
    selector = selectors.DefaultSelector()
    clients = [connect(port) for _ in range(CLIENTS)]
    for number, client in enumerate(clients):
        selector.register(client, selectors.EVENT_READ, command("SET", f"client:{number}", VALUE))
        client.sendall(selector.get_key(client).data)
    done, begun = 0, time.monotonic()
    while (spent := time.monotonic() - begun) < seconds:
        for key, _ in selector.select(1):
            key.fileobj.recv(100)
            key.fileobj.sendall(key.data)
            done += 1
    for client in clients:
        client.close()
    return done / spent


def syncs_a_second(directory, seconds):
    """Appends of a small block, each made durable by fdatasync, of one thread."""
    path = os.path.join(directory, "syncs")
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    done, begun = 0, time.monotonic()
    while (spent := time.monotonic() - begun) < seconds:
        os.pwrite(file, b"x" * 4096, done * 4096)
        os.fdatasync(file)
        done += 1
    os.close(file)
    os.unlink(path)
    return done / spent


def checkpoint(server):
    """Begins one and waits for its end: seconds, and PING of another client meanwhile."""
    pinger, begun = Pinger(server.port), time.monotonic()
    server.ask("BGREWRITEAOF" if server.is_redis else "BGSAVE")
    time.sleep(0.01)
    while server.info("aof_rewrite_in_progress") == "1":
        time.sleep(0.02)
    return time.monotonic() - begun, pinger.end()


def long_checkpoint(servers, gib, directory):
    keys = int(gib * (1 << 20))
    for name, binary in servers:
        server = Server(binary, directory(), "everysec", f"{int(gib * 2) + 1}gb")
        fill(server.port, keys, b"v" * 1024)
        pinger = Pinger(server.port)
        time.sleep(3)
        quiet = pinger.end()
        seconds, (worst, p99) = checkpoint(server)
        server.stop()
        print(f"checkpoint of {gib} GiB: {name}: {keys} values of 1 KiB in {seconds:.1f} s; PING of another client: worst "
              f"{worst:.1f} ms, p99 {p99:.1f} ms; without one: worst {quiet[0]:.1f} ms, p99 {quiet[1]:.1f} ms", flush=True)


def recovery(servers, keys, directory):
    for name, binary in servers:
        path, memory = directory(), f"{keys // 4_000_000 + 2}gb"
        server = Server(binary, path, "everysec", memory)
        fill(server.port, keys)
        server.stop()
        for kind in ("the journal", "a checkpoint"):
            server = Server(binary, path, "everysec", memory)
            seconds = max(server.loaded()[1], 0.001)
            print(f"recovery: {name}: {keys} keys of {kind} in {seconds:.1f} s: {keys / seconds / 1e6:.2f} M a second; "
                  f"resident {server.resident_mib()} MiB", flush=True)
            if kind == "the journal":
                checkpoint(server)
            server.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a smoke test; its figures mean little")
    parser.add_argument("--directory", default=None)
    parser.add_argument("--checkpoint-gib", type=float, metavar="N")
    parser.add_argument("--recover-keys", type=int, metavar="N")
    parser.add_argument("pannier")
    parser.add_argument("redis", nargs="?", default=shutil.which("redis-server"))
    options = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="durability-", dir=options.directory)
    servers = [("pannier", options.pannier)] + ([("redis", options.redis)] if options.redis else [])
    rounds, count, seconds, keys = (1, 20_000, 1, 20_000) if options.quick else (3, 200_000, 5, 1_000_000)
    fresh = 0

    def directory():
        nonlocal fresh
        fresh += 1
        path = os.path.join(scratch, str(fresh))
        os.mkdir(path)
        return path

    try:
        if options.checkpoint_gib:
            long_checkpoint(servers, options.checkpoint_gib, directory)
        if options.recover_keys:
            recovery(servers, options.recover_keys, directory)
        if options.checkpoint_gib or options.recover_keys:
            return
        for name, binary in servers:
            pairs = [(cpu_of_set(binary, directory(), "everysec", count), cpu_of_set(binary, directory(), None, count))
                     for _ in range(rounds)]
            with_it, without = (statistics.median(side) for side in zip(*pairs))
            print(f"everysec: {name}: SET, pipelined: {with_it:.0f} ns of processor time with a journal, {without:.0f} "
                  f"without: {with_it / without:.2f} times", flush=True)
        for name, binary in servers:
            server = Server(binary, directory(), "always")
            before, pinger = syncs_a_second(scratch, seconds), Pinger(server.port)
            rate = writes_a_second(server.port, seconds)
            worst, p99 = pinger.end()
            syncs = (before + syncs_a_second(scratch, seconds)) / 2
            server.stop()
            print(f"always: {name}: {rate:.0f} writes a second of {CLIENTS} clients; the disk: {syncs:.0f} syncs a second: "
                  f"{rate / syncs / CLIENTS:.2f} x {CLIENTS} x its syncs; PING of another client: worst {worst:.1f} ms, "
                  f"p99 {p99:.1f} ms", flush=True)
        for name, binary in servers:
            path = directory()
            server = Server(binary, path, "everysec")
            fill(server.port, keys)
            server.stop()
            server = Server(binary, path, "everysec")
            seconds_taken = server.loaded()[1]
            print(f"replay: {name}: {keys} records of the journal in {seconds_taken:.2f} s: "
                  f"{keys / max(seconds_taken, 0.001) / 1e6:.2f} M records a second", flush=True)
            pinger = Pinger(server.port)
            time.sleep(1)
            quiet = pinger.end()
            took, (worst, p99) = checkpoint(server)
            print(f"checkpoint: {name}: {keys} records in {took:.1f} s; PING of another client: worst {worst:.1f} ms, p99 "
                  f"{p99:.1f} ms; without one: worst {quiet[0]:.1f} ms, p99 {quiet[1]:.1f} ms", flush=True)
            server.stop()
            server = Server(binary, path, "everysec")
            seconds_taken = server.loaded()[1]
            print(f"replay: {name}: {keys} records of a checkpoint in {seconds_taken:.2f} s: "
                  f"{keys / max(seconds_taken, 0.001) / 1e6:.2f} M records a second", flush=True)
            server.stop()
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
