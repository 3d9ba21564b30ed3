#!/usr/bin/env python3
"""Processor time of a server for each message that it delivers to a subscriber, and for a write of which nobody hears.

    compare/pubsub.py PANNIER [REDIS]      binaries; `redis-server` is taken from the path by default

Each server runs on a free port and on a core of its own, this script on another one. N clients subscribe to one channel; a publisher sends messages of 64 bytes, a few at a
time, and waits for the replies; all subscribers read. What counts is the server's own processor time (/proc/PID/schedstat),
so this script may be slow without harm. Rounds of the two servers alternate; the median of five is shown.

Then SETs of 16 + 32 bytes are sent in pipelines of 100 while nobody is subscribed: without key events, and with all of
them configured (notify-keyspace-events KEA).
"""
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from process import free_port
from servers import LOAD_CORE, SERVER_CORE, pinned

MESSAGE = b"m" * 64
PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$64\r\n" + MESSAGE + b"\r\n"
DELIVERED = len(b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$64\r\n" + MESSAGE + b"\r\n")


def start(command, port):
    process = subprocess.Popen(pinned(SERVER_CORE, command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{command[0]} did not come up")


def cpu_ns(process):
    with open(f"/proc/{process.pid}/schedstat") as f:
        return int(f.read().split()[0])


def ticks(process):
    """Ticks of the processor in the program and in the system's calls."""
    with open(f"/proc/{process.pid}/stat") as f:
        return [int(word) for word in f.read().rsplit(") ", 1)[1].split()[11:13]]


def connect(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read_exactly(s, length):
    got = 0
    while got < length:
        got += len(s.recv(1 << 20))


def measure(process, port, subscribers, messages, at_once):
    """Nanoseconds of the server for one delivery."""
    selector = selectors.DefaultSelector()
    clients = [connect(port) for _ in range(subscribers)]
    for client in clients:
        client.sendall(b"SUBSCRIBE news\r\n")
        read_exactly(client, len(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"))
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ)
    publisher = connect(port)
    reply = len(b":%d\r\n" % subscribers)
    before, expected = cpu_ns(process), 0
    received = 0
    for _ in range(messages // at_once):
        publisher.sendall(PUBLISH * at_once)
        expected += at_once * subscribers * DELIVERED
        while received < expected:
            for key, _ in selector.select(5):
                received += len(key.fileobj.recv(1 << 20))
        read_exactly(publisher, reply * at_once)
    spent = cpu_ns(process) - before
    for client in clients + [publisher]:
        client.close()
    return spent / (messages * subscribers)


def measure_writes(process, port, key_events):
    """Nanoseconds of the server for one write while nobody listens."""
    client = connect(port)
    words = b"CONFIG", b"SET", b"notify-keyspace-events", key_events
    client.sendall(b"*4\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    read_exactly(client, len(b"+OK\r\n"))
    batches = [b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$32\r\n%s\r\n" % (first + at, b"v" * 32)
                        for at in range(100)) for first in range(0, 100_000, 100)]
    before = cpu_ns(process)
    for batch in batches:
        client.sendall(batch)
        read_exactly(client, 100 * len(b"+OK\r\n"))
    spent = cpu_ns(process) - before
    client.close()
    return spent / (100 * len(batches))


def compare_writes(servers):
    settings = {"off": b"", "KEA": b"KEA"}
    results = {(name, setting): [] for name in servers for setting in settings}
    for round in range(6):
        for (name, setting), values in results.items():
            spent = measure_writes(*servers[name], settings[setting])
            # The first round makes the keys.
            if round:
                values.append(spent)
    for name in servers:
        off, on = (statistics.median(results[name, setting]) for setting in settings)
        print(f"a write of which nobody hears: {name} {off:.0f} ns without key events, {on:.0f} ns with KEA, "
              f"{on - off:+.0f} ns", flush=True)


def main():
    pannier, redis = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "redis-server"
    if LOAD_CORE < (os.cpu_count() or 1):
        os.sched_setaffinity(0, {LOAD_CORE})
    ports = free_port(), free_port()
    servers = {
        "pannier": (start([pannier, "serve", "--tcp", f"127.0.0.1:{ports[0]}", "--udp", "off", "--admin", "off",
                           "--memory", "256MiB"], ports[0]), ports[0]),
        "redis": (start([redis, "--port", str(ports[1]), "--save", "", "--dir", tempfile.gettempdir()], ports[1]),
                  ports[1]),
    }
    try:
        for subscribers, messages, at_once in (1, 20_000, 1), (1, 50_000, 50), (1_000, 200, 1), (1_000, 400, 10):
            results = {name: [] for name in servers}
            before = {name: ticks(process) for name, (process, _) in servers.items()}
            for _ in range(5):
                for name, (process, port) in servers.items():
                    results[name].append(measure(process, port, subscribers, messages, at_once))
            ns = {name: statistics.median(values) for name, values in results.items()}
            own = {}
            for name, (process, _) in servers.items():
                program, system = (after - first for after, first in zip(ticks(process), before[name]))
                own[name] = ns[name] * program / max(program + system, 1)
            print(f"{subscribers:5} subscribers, {at_once:2} messages at once: " + ", ".join(
                f"{name} {value:7.0f} ns ({own[name]:.0f} outside the system's calls)" for name, value in ns.items()
            ) + f" a delivery, ratio {ns['pannier'] / ns['redis']:.2f}", flush=True)
        compare_writes(servers)
    finally:
        for process, _ in servers.values():
            process.kill()


if __name__ == "__main__":
    os.environ.pop("PANNIER_MEMORY", None)
    main()
