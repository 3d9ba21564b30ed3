"""Prints what the kernel holds for clients that upload, ask and do not read.

    python3 tests/container/receive_queues.py BINARY [CLIENTS [MEMORY]]        default: 30 clients, 64MiB

Each client first uploads 32 MB and reads the answers, so that a buffer that can grow has grown. Then it asks for a large
value again and again and uploads more, and reads nothing: the server stops reading it, and its bytes stay in the
kernel. The receive queues of the server's sockets are added up as `ss` (iproute2) shows them. Many clients leave the first part
out. The exit code is 1 where a queue passes what SO_RCVBUF of the server allows.
"""

import os
import re
import resource
import socket
import subprocess
import sys
import time

WARM_CLIENTS_MAX = 100
LARGE = b"x" * 1_000_000
VALUE = b"y" * 60_000
SET = b"*3\r\n$3\r\nSET\r\n$5\r\nvalue\r\n$%d\r\n%s\r\n"
PIPELINE = b"GET large\r\n" * 50 + SET % (len(VALUE), VALUE) * 100


def start(binary, memory, clients):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--tcp", f"127.0.0.1:{port}", "--udp", "off", "--admin", "off", "--memory", memory, "--log-level", "off"]
    flags += ["--max-clients", str(clients + 1), "--write-timeout", "10m", "--request-timeout", "10m"]
    process = subprocess.Popen([binary, "serve", *flags])
    for _ in range(200):
        try:
            return process, connect(port)
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit(f"{binary} does not answer")


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def answered(client, request, count):
    """Sends and waits for so many +OK."""
    client.sendall(request)
    left = count * len(b"+OK\r\n")
    while left > 0:
        left -= len(client.recv(left))


def push(clients):
    """Each sends until the kernel takes no more from any."""
    sent = [0] * len(clients)
    for client in clients:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if len(clients) > WARM_CLIENTS_MAX:
            # What the clients' own side holds counts toward what the kernel gives to all of TCP.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for _ in range(400):
        moved = 0
        for index, client in enumerate(clients):
            try:
                at = sent[index] % len(PIPELINE)
                taken = client.send(PIPELINE[at:])
            except (BlockingIOError, ConnectionError):
                # The server closes those that hold the most when all buffers are full.
                continue
            sent[index] += taken
            moved += taken
        if moved == 0:
            return
        time.sleep(0.01)


def queues(port):
    """Of each of the server's sockets: bytes of kernel memory in its receive queue, and its bound."""
    out = subprocess.run(["ss", "-tmnH", "sport", "=", f":{port}"], capture_output=True, text=True, check=True).stdout
    return [(int(held), int(bound)) for held, bound in re.findall(r"skmem:\(r(\d+),rb(\d+),", out)]


def main():
    binary = os.path.abspath(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    memory = sys.argv[3] if len(sys.argv) > 3 else "64MiB"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server, first = start(binary, memory, count)
    port = first.getpeername()[1]
    try:
        answered(first, b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n%s\r\n" % (len(LARGE), LARGE), 1)
        clients = [connect(port) for _ in range(count)]
        for client in clients if count <= WARM_CLIENTS_MAX else []:
            for _ in range(8):
                answered(client, SET % (len(LARGE), LARGE) * 4, 4)
        push(clients)
        found = queues(port)
        held, bound = [one for one, _ in found], max(bound for _, bound in found)
        print(
            f"{count} clients that upload and do not read, --memory {memory}: the kernel holds {sum(held) / 2**20:.1f} MiB "
            f"in receive queues, {max(held) / 1024:.0f} KiB for one at most"
        )
        # The last packet that is let in may pass the bound.
        sys.exit(1 if max(held) > bound + 128 * 1024 else 0)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
