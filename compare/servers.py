"""The servers that are compared: how each is started on a core of its own, and what it says its version is."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

from process import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PANNIER = os.path.join(ROOT, "target", "release", "pannier")
FLOOR = os.path.join(ROOT, "target", "release", "examples", "floor")
SERVER_CORE, LOAD_CORE = 0, 1
# Enough for ten million keys of 16 + 32 bytes; touched only as far as it is used.
MEMORY_MIB = 4096


class Missing(Exception):
    """A server or a tool that is not there; its text says what to do."""


def pinned(core, command):
    """The command on one core, where there are two and taskset is installed."""
    if (os.cpu_count() or 1) < 2 or not shutil.which("taskset"):
        return command
    return ["taskset", "-c", str(core), *command]


def version_of(program):
    """The number in what it says of itself."""
    result = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", result.stdout + result.stderr)
    return found.group() if found else "of an unknown version"


class Server:
    """A server that may be started. `protocols` are those of `pannier bench --protocol`."""

    def __init__(self, name, protocols, command, version):
        self.name, self.protocols, self.command, self.version = name, protocols, command, version
        self.process = self.port = self.directory = None
        # What it was filled with last: number of keys and bytes of a value.
        self.filled = None

    def start(self):
        self.port, self.directory = free_port(), tempfile.mkdtemp(prefix="compare-")
        command = [word.replace("{port}", str(self.port)) for word in self.command]
        self.process = subprocess.Popen(
            pinned(SERVER_CORE, command), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        for _ in range(100):
            if self.process.poll() is not None:
                raise Missing(f"{self.name} ended at once: {self.process.stderr.read().decode().strip()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Missing(f"{self.name} does not listen on port {self.port}: {shlex.join(command)}")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self.process = None
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None
        self.filled = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


class Floor(Server):
    """The bare server of bytes for one kind of request."""

    def __init__(self, protocol, request_bytes, reply_bytes):
        words = ["--request-bytes", str(request_bytes), "--reply-bytes", str(reply_bytes)]
        words += ["--udp"] if protocol == "udp" else []
        super().__init__("floor", [protocol], [FLOOR, *words], "")
        self.reply_bytes = reply_bytes

    def start(self):
        self.process = subprocess.Popen(
            pinned(SERVER_CORE, self.command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().strip().rsplit(":", 1)[1])

    def stop(self):
        if self.process:
            self.process.stdout.close()
        super().stop()


def pannier(memory_mib=MEMORY_MIB):
    if not (os.path.exists(PANNIER) and os.path.exists(FLOOR)):
        raise Missing("build first: cargo build --release && cargo build --release --example floor (compare/run.sh does)")
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    version = version_of(PANNIER) + (f" ({commit.stdout.strip()})" if commit.returncode == 0 else "")
    command = [PANNIER, "serve", "--tcp", "127.0.0.1:{port}", "--admin", "off", "--memory", f"{memory_mib}MiB",
               "--log-level", "error"]
    return Server("Pannier", ["resp", "frames", "udp"], command, version)


def known():
    """Pannier, and of the others those that are installed."""
    found = [pannier()]
    for name, program in (("Redis", "redis-server"), ("Valkey", "valkey-server")):
        if shutil.which(program):
            command = [program, "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            found.append(Server(name, ["resp"], command, version_of(program)))
    if shutil.which("memcached"):
        # One worker, as the others have one; values up to 16 MiB; no bound on connections' requests in a row.
        command = ["memcached", "-l", "127.0.0.1", "-p", "{port}", "-U", "0", "-t", "1", "-m", str(MEMORY_MIB),
                   "-I", "16m", "-R", "1000"]
        command += ["-u", "nobody"] if os.geteuid() == 0 else []
        found.append(Server("memcached", ["memcached"], command, version_of("memcached")))
    return found


def named(text):
    """`name=command` or `name:memcached=command`, from the command line; `{port}` stands for the port."""
    name, equals, command = text.partition("=")
    name, _, protocol = name.partition(":")
    protocol = protocol or "resp"
    words = shlex.split(command)
    if not equals or not words or "{port}" not in command or protocol not in ("resp", "memcached"):
        raise Missing(f"--server {text!r}: write NAME=COMMAND with {{port}} in it, such as "
                      "'keydb=keydb-server --port {port}'")
    if not shutil.which(words[0]):
        raise Missing(f"--server {text!r}: there is no program {words[0]}")
    return Server(name, [protocol], words, version_of(words[0]))
