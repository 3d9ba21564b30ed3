#!/usr/bin/env python3
"""A running server whose disk fails, by system calls that are made to fail or to take long, and on a file system that is full.

    tests/failures/run.py BINARY        exit code 77: it cannot run here (no strace, or tracing is not allowed)

strace is attached to the disk's thread alone, so the loop runs as ever. What is checked: writes are refused and say why,
nobody else waits, everything comes back by itself, and after a kill -9 every acknowledged write is there. Each part prints
a line. It takes about a minute.
"""
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# Others wait for less than this in any case, on a machine that does other things too.
OTHERS_MS_MAX = 100
PATIENCE_S = 20


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, line):
        self.socket.sendall(line.encode() + b"\r\n")

    def reply(self):
        line = self.file.readline().decode().rstrip()
        if line.startswith("$") and line != "$-1":
            return self.file.read(int(line[1:]) + 2)[:-2].decode()
        if line.startswith("*"):
            return [self.reply() for _ in range(int(line[1:]))]
        return line

    def hears(self, line, seconds):
        """Whether a request is answered within that time; the reply is still to be read."""
        self.send(line)
        return bool(select.select([self.socket], [], [], seconds)[0])

    def ask(self, line):
        self.send(line)
        return self.reply()


class Server:
    started = []

    def __init__(self, binary, directory, *flags):
        self.log = tempfile.NamedTemporaryFile("r", suffix=".log")
        words = [binary, "serve", "--tcp", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--udp", "off", "--memory", "64MiB"]
        self.process = subprocess.Popen([*words, "--data-dir", directory, *flags], stderr=self.log.fileno())
        Server.started.append(self.process)
        self.port = int(self.wait_for_log(r"tcp=[^ ]*:(\d+) "))
        self.admin = int(self.wait_for_log(r"admin=[^ ]*:(\d+)\n"))
        until(lambda: self.client().ask("PING") == "+PONG", "the data to be loaded")

    def wait_for_log(self, pattern):
        found = until(lambda: re.search(pattern, open(self.log.name).read()), pattern)
        return found[1]

    def client(self):
        return Client(self.port)

    def disk_thread(self):
        """Its number. It names itself, a moment after it has begun."""

        def named():
            for task in os.listdir(f"/proc/{self.process.pid}/task"):
                with open(f"/proc/{self.process.pid}/task/{task}/comm") as f:
                    if f.read().strip() == "pannier-disk":
                        return task

        return until(named, "the disk's thread")

    def ready(self):
        """Status and text of /readyz."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Injection:
    """While it lasts, system calls of the disk's thread go as said."""

    def __init__(self, server, *what):
        words = ["strace", "-qq", "-o", "/dev/null", "-p", server.disk_thread()]
        for part in what:
            words += ["-e", f"inject={part}"]
        self.strace = subprocess.Popen(words, stderr=subprocess.PIPE)
        self.thread = f"/proc/{server.process.pid}/task/{server.disk_thread()}/status"

    def __enter__(self):
        def is_traced():
            if self.strace.poll() is not None:
                print(f"strace cannot attach: {self.strace.stderr.read().decode().strip()}")
                sys.exit(77)
            with open(self.thread) as f:
                return re.search(r"TracerPid:\t[1-9]", f.read())

        until(is_traced, "strace")
        return self

    def __exit__(self, *_):
        self.strace.send_signal(signal.SIGINT)
        self.strace.wait()


def until(holds, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit(f"waited too long for {what}")


def check(holds, what):
    if not holds:
        raise SystemExit(f"FAILED: {what}")


def refused(client, key):
    reply = client.ask(f"SET {key} 1")
    return reply.startswith("-MISCONF")


def fails_and_comes_back(binary, directory, durability, *what):
    """Writes are refused with the reason while the disk fails; then all goes on, and everything acknowledged is kept."""
    server = Server(binary, directory, "--durability", durability)
    client, reader = server.client(), server.client()
    check(client.ask("SET before 1") == "+OK", "a write before")
    check(client.ask("WAITAOF 1 0 0") == [":1", ":0"], "WAITAOF")
    waiting = server.client()
    with Injection(server, *what):
        waiting.send("SET waiting 1")
        until(lambda: server.ready()[0] == 503, "/readyz to tell")
        until(lambda: refused(server.client(), "refused"), "a write to be refused")
        check(reader.ask("GET before") == "1", "reads are served")
        status, text = server.ready()
        check(status == 503 and "failed" in text, f"/readyz says {status} {text}")
        info = reader.ask("INFO persistence")
        check("aof_last_write_status:err" in info and "journal_error:" in info, "INFO says so")
        check(reader.ask("GET refused") == "$-1", "what was refused was not done")
        check(client.ask("WAITAOF 1 0 50")[1:] == [":0"], "WAITAOF has its time limit")
    begun = time.monotonic()
    until(lambda: not refused(server.client(), "after"), "writes to go on")
    took = time.monotonic() - begun
    check(waiting.reply() == "+OK", "a write that was waiting is answered")
    check(client.ask("WAITAOF 1 0 10000") == [":1", ":0"], "everything is durable again")
    check(server.ready()[0] == 200, "/readyz is content")
    server.kill()
    server = Server(binary, directory, "--durability", durability)
    found = server.client().ask("MGET before waiting after refused")
    check(found == ["1", "1", "1", "$-1"], f"after a kill: {found}")
    server.kill()
    print(f"{durability}: {', '.join(what)}: refused with the reason, back {took:.1f} s after the disk, nothing lost", flush=True)


def worst_ping(client, seconds, line="PING"):
    """In milliseconds, of one client that asks all the time."""
    worst, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        client.ask(line)
        worst = max(worst, (time.perf_counter() - begun) * 1000)
        time.sleep(0.0005)
    return worst


def slow_sync(binary, directory):
    """A sync that takes 2 s holds up who waits for it, and nobody else."""
    server = Server(binary, directory, "--durability", "always")
    writer, other, reader = server.client(), server.client(), server.client()
    check(writer.ask("SET old 1") == "+OK", "a write before")
    quiet = worst_ping(other, 2)
    with Injection(server, "fdatasync:delay_enter=2s"):
        begun = time.monotonic()
        writer.send("SET new 1")
        worst = worst_ping(other, 0.9)
        worst_read = worst_ping(reader, 0.9, "GET old")
        check(writer.reply() == "+OK", "the write is answered in the end")
        took = time.monotonic() - begun
    check(took >= 2, f"the write waited for the sync: {took:.2f} s")
    server.kill()
    check(max(worst, worst_read) < OTHERS_MS_MAX, f"others waited {worst:.1f} and {worst_read:.1f} ms")
    print(f"always: a sync of 2 s: its write waits {took:.2f} s; others meanwhile: worst PING {worst:.2f} ms, worst GET "
          f"{worst_read:.2f} ms (PING without it: {quiet:.2f} ms)", flush=True)

    server = Server(binary, directory, "--durability", "everysec")
    writer, other = server.client(), server.client()
    with Injection(server, "fdatasync:delay_enter=2s"):
        worst_write, writes, end = 0.0, 0, time.monotonic() + 5
        while time.monotonic() < end:
            begun = time.perf_counter()
            check(writer.ask(f"SET key:{writes % 100} 1") == "+OK", "a write meanwhile")
            worst_write = max(worst_write, (time.perf_counter() - begun) * 1000)
            writes += 1
            time.sleep(0.0005)
    server.kill()
    check(worst_write < OTHERS_MS_MAX, f"a write waited {worst_write:.1f} ms")
    print(f"everysec: syncs of 2 s each: {writes} writes meanwhile, worst {worst_write:.2f} ms", flush=True)


def full(binary, directory):
    """A file system of 6 MiB that others have filled up, until they make room again."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", directory], stderr=subprocess.DEVNULL).returncode:
        print("a full file system: skipped, nothing can be mounted here")
        return
    try:
        ballast = os.path.join(directory, "ballast")
        data = os.path.join(directory, "data")
        server = Server(binary, data, "--durability", "always", "--journal-size", "1MiB")
        client, value = server.client(), "x" * 1000
        acknowledged = 0
        with open(ballast, "wb") as f:
            f.write(b"x" * (4 << 20))
        # What was run and finds no room waits until there is some; what comes after it is refused.
        while client.hears(f"SET key:{acknowledged} {value}", 2):
            check(client.reply() == "+OK", "a write is done or waits")
            acknowledged += 1
            check(acknowledged < 10_000, "the file system never was full")
        check(refused(server.client(), "refused"), "later writes are refused")
        check(server.client().ask("GET key:0") == value, "reads are served")
        os.unlink(ballast)
        check(client.reply() == "+OK", "what was waiting is answered")
        until(lambda: client.ask("SET after 1") == "+OK", "writes to go on")
        server.kill()
        server = Server(binary, data)
        found = int(server.client().ask("DBSIZE")[1:])
        check(found == acknowledged + 2, f"{found} keys, {acknowledged} and two were acknowledged")
        server.kill()
        print(f"always: a full file system: {acknowledged} writes, then refused; back when there was room; nothing lost",
              flush=True)
    finally:
        subprocess.run(["umount", "-l", directory])


def directory_is_gone(binary, directory):
    """A directory that is removed under a running server: reads go on, and it says what is wrong."""
    server = Server(binary, directory)
    client = server.client()
    check(client.ask("SET before 1") == "+OK", "a write before")
    shutil.rmtree(directory)
    check(client.ask("BGSAVE").startswith("+"), "BGSAVE begins")
    until(lambda: refused(client, "after"), "writes to be refused")
    check(client.ask("GET before") == "1" and server.ready()[0] == 503, "reads are served, and /readyz tells")
    os.mkdir(directory, 0o700)
    server.kill()
    print("a directory that is gone: refused with the reason, reads go on", flush=True)


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    if not shutil.which("strace"):
        print("there is no strace here")
        sys.exit(77)
    binary = os.path.realpath(sys.argv[1])
    scratch = tempfile.mkdtemp(prefix="failures-")

    def directory():
        return tempfile.mkdtemp(dir=scratch)

    try:
        for durability in ("everysec", "always"):
            fails_and_comes_back(binary, directory(), durability, "fdatasync:error=EIO")
            fails_and_comes_back(binary, directory(), durability, "pwrite64:error=ENOSPC")
        fails_and_comes_back(binary, directory(), "everysec", "pwrite64:error=EROFS", "openat:error=EROFS")
        slow_sync(binary, directory())
        full(binary, directory())
        directory_is_gone(binary, directory())
    finally:
        for process in Server.started:
            if process.poll() is None:
                process.kill()
        shutil.rmtree(scratch, ignore_errors=True)
    print("failures: all passed")


if __name__ == "__main__":
    main()
