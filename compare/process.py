"""A server as a process of its own: started on a free port, awaited until it answers PING, measured and stopped."""
import os
import re
import socket
import subprocess
import tempfile
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def command(*words):
    """The bytes of a command."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Process:
    """A server of Redis's protocol; `{port}` in its words stands for the port. `started_s`: until it answered."""

    def __init__(self, words):
        self.port = free_port()
        words = [word.replace("{port}", str(self.port)) for word in words]
        self.log = tempfile.NamedTemporaryFile("r", suffix=".log")
        begun = time.monotonic()
        self.process = subprocess.Popen(words, stdout=self.log.fileno(), stderr=self.log.fileno())
        while not self.answers():
            if self.process.poll() is not None:
                raise SystemExit(f"{words[0]} ended: {self.log_text()}")
            time.sleep(0.002)
        self.started_s = time.monotonic() - begun

    def answers(self):
        try:
            with connect(self.port) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(100).startswith(b"+PONG")
        except OSError:
            return False

    def log_text(self):
        with open(self.log.name) as log:
            return log.read()

    def cpu_ns(self):
        """Processor time of all its threads."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat") as schedstat:
                total += int(schedstat.read().split()[0])
        return total

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) // 1024

    def stop(self):
        self.process.terminate()
        self.process.wait()
