#!/usr/bin/env python3
"""Processor time of a server for each message that it delivers to a subscriber, side by side.

    compare/pubsub.py PANNIER [REDIS]      binaries; `redis-server` is taken from the path by default

Each server runs alone on a free port. N clients subscribe to one channel; a publisher sends messages of 64 bytes, a few at a
time, and waits for the replies; all subscribers read. What counts is the server's own processor time (/proc/PID/schedstat),
so this script may be slow without harm. Rounds of the two servers alternate; the median of five is shown.
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

MESSAGE = b"m" * 64
PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$64\r\n" + MESSAGE + b"\r\n"
DELIVERED = len(b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$64\r\n" + MESSAGE + b"\r\n")


def start(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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


def main():
    pannier, redis = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "redis-server"
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
            for _ in range(5):
                for name, (process, port) in servers.items():
                    results[name].append(measure(process, port, subscribers, messages, at_once))
            ns = {name: statistics.median(values) for name, values in results.items()}
            print(f"{subscribers:5} subscribers, {at_once:2} messages at once: " + ", ".join(
                f"{name} {value:7.0f} ns" for name, value in ns.items()
            ) + f" a delivery, ratio {ns['pannier'] / ns['redis']:.2f}", flush=True)
    finally:
        for process, _ in servers.values():
            process.kill()


if __name__ == "__main__":
    os.environ.pop("PANNIER_MEMORY", None)
    main()
