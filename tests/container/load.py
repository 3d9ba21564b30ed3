"""Drives a Pannier past its memory, as a service beside it would on its worst day, and checks what it answers.

    python3 load.py [ADDR [ADMIN]]        default: 127.0.0.1:7878 127.0.0.1:7879

Run it where the server's loopback is. Standard library only; each load is bounded in count and in time. Prints a
line for each thing that held; the exit code is 1 at the first that does not.
"""

import random
import socket
import sys
import time
import urllib.error
import urllib.request

DEADLINE_S = 60
BATCH = 500
OOM = b"-OOM "
HOST, PORT = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7878").rsplit(":", 1)
ADDRESS = (HOST, int(PORT))
ADMIN = "http://" + (sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:7879")


def main():
    begun = time.monotonic()
    random.seed(1)
    check(http("/readyz") == 200, "/readyz answers 200")
    held = fill()
    large_values_are_refused()
    crowd = [*unfinished_commands(), *slow_readers(), *idle_clients()]
    datagrams()
    scrapes()
    check(time.monotonic() - begun < DEADLINE_S, f"all of it took less than {DEADLINE_S} s")
    still_there(held)
    for client in crowd:
        client.close()
    writable_again()
    check(http("/readyz") == 200 and http("/livez") == 200, "/readyz and /livez answer 200 after it")


def check(held, what):
    print("ok     " if held else "FAILED ", what, flush=True)
    if not held:
        sys.exit(1)


def command(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Client:
    """One connection that reads replies of one line, and bulks."""

    def __init__(self):
        self.socket = socket.create_connection(ADDRESS, timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        self.socket.sendall(command(*words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if line[:1] == b"$" and line != b"$-1\r\n":
            return self.file.read(int(line[1:]) + 2)[:-2]
        return line

    def close(self):
        self.socket.close()


def fill():
    """Sessions of 100 to 2,000 bytes until a thousand writes in a row are refused; gives keys and values of a sample."""
    client, stored, refused_in_row, sample, index = Client(), 0, 0, {}, 0
    while refused_in_row < 1_000 and index < 2_000_000:
        batch = [(b"session:%d" % i, random.randbytes(random.randint(100, 2_000))) for i in range(index, index + BATCH)]
        index += BATCH
        client.socket.sendall(b"".join(command("SET", key, value, "EX", 3600) for key, value in batch))
        for key, value in batch:
            answer = client.reply()
            if answer == b"+OK\r\n":
                stored, refused_in_row = stored + 1, 0
                if stored % 50 == 0:
                    sample[key] = value
            else:
                check_quietly(answer.startswith(OOM), f"a write that does not fit gets an error, not {answer[:60]!r}")
                refused_in_row += 1
    check(refused_in_row >= 1_000, f"filled with {stored} sessions; the next thousand got -OOM")
    check(client.send("DBSIZE") == b":%d\r\n" % stored, "every write that was acknowledged is there")
    client.close()
    return sample


def check_quietly(held, what):
    if not held:
        check(held, what)


def large_values_are_refused():
    client = Client()
    for size in (9_000, 1 << 20, 16 << 20):
        check_quietly(client.send("SET", "large", bytes(size)).startswith(OOM), f"{size} bytes are refused")
    check(client.send("PING") == b"+PONG\r\n", "values of 9 kB, 1 MiB and 16 MiB are refused, the connection lives")
    client.close()


def unfinished_commands():
    """Clients that send most of a command and stop: they may hold buffers, never more than the clients' share."""
    clients = []
    for _ in range(300):
        client = Client()
        try:
            client.socket.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000\r\n" + bytes(50_000))
        except OSError:
            pass  # The one that holds the most is closed when the share is used up.
        clients.append(client)
    check(Client().send("PING") == b"+PONG\r\n", "300 commands that never end delay no other client")
    return clients


def slow_readers():
    """Clients that ask for far more than they take."""
    clients, asked = [], command("GET", "session:1") * 2_000
    for _ in range(200):
        client = Client()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.socket.settimeout(0.05)
        try:
            client.socket.sendall(asked)
        except OSError:
            pass  # The server stops reading from a client that does not take its replies.
        clients.append(client)
    check(Client().send("PING") == b"+PONG\r\n", "200 clients that take no replies delay no other client")
    return clients


def idle_clients():
    clients = [Client() for _ in range(2_000)]
    check(clients[-1].send("PING") == b"+PONG\r\n", "2,000 idle clients beside them")
    return clients


def datagrams():
    """Noise, and more of it than anybody reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(20_000):
            sender.sendto(random.randbytes(random.randint(1, 1_200)), ADDRESS)
    check(Client().send("PING") == b"+PONG\r\n", "20,000 datagrams of noise")


def scrapes():
    check(all(http("/metrics") == 200 for _ in range(50)), "50 scrapes of /metrics in a row")


def still_there(sample):
    client = Client()
    check(all(client.send("GET", key) == value for key, value in sample.items()),
          f"{len(sample)} values of the fill are what they were")
    client.close()


def writable_again():
    """What is deleted makes room again."""
    client = Client()
    for index in range(0, 20_000):
        client.socket.sendall(command("DEL", b"session:%d" % index))
        client.reply()
    answers = [client.send("SET", b"again:%d" % index, bytes(500)) for index in range(1_000)]
    check(answers == [b"+OK\r\n"] * 1_000, "after 20,000 deletes a thousand writes fit again")
    client.close()


def http(path):
    try:
        with urllib.request.urlopen(ADMIN + path, timeout=5) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


if __name__ == "__main__":
    main()
