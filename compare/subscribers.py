#!/usr/bin/env python3
"""Resident memory of a server with 10,000 subscribers to ten channels each, and one publisher.

    compare/subscribers.py SERVER [CLIENTS [MEMORY]]        10,000 clients and 512MiB by default

SERVER is a binary of Pannier, or one whose name ends in redis-server.

Each client subscribes to ten of 1,000 channels; then 2,000 messages of 200 bytes are published to all of the channels in turn, while a tenth of
the clients reads nothing for the time being. What counts is VmHWM of /proc/PID/status beside the limit: the most that was
ever resident.
"""
import resource
import selectors
import socket
import sys
import tempfile
import time

from pubsub import cpu_ns, free_port, start

CHANNELS = 1_000
EACH = 10
MESSAGES = 2_000


def resident_kib(process, name):
    with open(f"/proc/{process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(name))


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    memory = sys.argv[3] if len(sys.argv) > 3 else "512MiB"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, count + 1_000), limit))
    port = free_port()
    command = [sys.argv[1], "serve", "--tcp", f"127.0.0.1:{port}", "--udp", "off", "--admin", "off",
               "--memory", memory, "--max-clients", str(count + 10)]
    if sys.argv[1].endswith("redis-server"):
        command = [sys.argv[1], "--port", str(port), "--save", "", "--maxclients", str(count + 10),
                   "--maxmemory", memory.replace("iB", "b"), "--protected-mode", "no",
                   "--dir", tempfile.gettempdir()]
    process = start(command, port)
    try:
        print(f"idle: {resident_kib(process, 'VmRSS') / 1024:.1f} MiB")
        clients = []
        for at in range(count):
            # From several addresses, for one has no more than 28,000 ports.
            client = socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.0.{2 + at % 8}", 0))
            names = b" ".join(b"channel:%d" % ((at * EACH + of) % CHANNELS) for of in range(EACH))
            client.sendall(b"SUBSCRIBE " + names + b"\r\n")
            clients.append(client)
        for client in clients:
            got = b""
            while got.count(b"subscribe") < EACH:
                got += client.recv(1 << 16)
            assert b"-ERR" not in got, got
        print(f"{count} subscribers, {count * EACH} subscriptions: {resident_kib(process, 'VmRSS') / 1024:.1f} MiB")
        selector = selectors.DefaultSelector()
        for client in clients[count // 10:]:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
        publisher = socket.create_connection(("127.0.0.1", port))
        got, delivered, spent = b"", 0, cpu_ns(process)
        for at in range(MESSAGES):
            publisher.sendall(b"PUBLISH channel:%d %s\r\n" % (at % CHANNELS, b"m" * 200))
        publisher.setblocking(False)
        selector.register(publisher, selectors.EVENT_READ)
        deadline = time.monotonic() + 300
        while got.count(b"\r\n") < MESSAGES and time.monotonic() < deadline:
            for key, _ in selector.select(5):
                data = key.fileobj.recv(1 << 20)
                if key.fileobj is publisher:
                    got += data
        delivered = sum(int(line[1:]) for line in got.split(b"\r\n") if line)
        spent = cpu_ns(process) - spent
        print(f"{MESSAGES} messages, {delivered} deliveries: {spent / max(delivered, 1) / 1000:.2f} us of processor time each")
        print(f"most that was resident: {resident_kib(process, 'VmHWM') / 1024:.1f} MiB of {memory}")
        publisher.setblocking(True)
        publisher.sendall(b"PUBSUB NUMPAT\r\nINFO stats\r\nINFO clients\r\n")
        text = b""
        while b"connected_clients" not in text:
            text += publisher.recv(1 << 16)
        print(next(line for line in text.decode().split("\r\n") if line.startswith("connected_clients")))
    finally:
        process.kill()


if __name__ == "__main__":
    main()
