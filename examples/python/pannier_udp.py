#!/usr/bin/env python3
"""A small client of Pannier over UDP, written from docs/protocol.md alone: the standard library, nothing else.

    from pannier_udp import Client
    client = Client("127.0.0.1", 7878)
    client.put(b"visits", b"1")
    print(client.add(b"visits", 1))          # 2

One request at a time, no password: tags need BLAKE3, which the standard library does not have.

    python3 pannier_udp.py check HOST PORT   tries every operation against a server, in keys that begin with "pannier_udp:"
    python3 pannier_udp.py vectors PAGE      checks the test vectors of docs/protocol.md against this file
"""

import os
import random
import re
import socket
import struct
import sys
import time

HELLO, PING, GET, PUT, DELETE, ADD, EXPIRE = range(1, 8)
WRITES = {PUT, DELETE, ADD, EXPIRE}
OK, NOT_FOUND, NOT_MET, WRONG_TYPE, FULL, TOO_LARGE, USE_TCP = range(7)
BAD_OP, CHALLENGE, STALE_SESSION, WRONG_EPOCH, ID_REUSED, BUSY, DENIED, MISCONF, LOADING = range(7, 16)
IF_ABSENT, IF_PRESENT, IF_REVISION, KEEP_TTL = 2, 4, 8, 16

# magic, version, op or status, flags, attempt, key length, frame length, epoch, client id, sequence,
# first incomplete, cookie, argument, expect
HEADER = struct.Struct(">2sBBBBHIIQII16sQQ")
NO_COOKIE = bytes(16)
assert HEADER.size == 64


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Failed(Exception):
    """The server has answered with this status."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status


class Unknown(Exception):
    """A write was sent and has no answer: it ran once or not at all."""


class Timeout(Exception):
    """No answer in time, and nothing was changed."""


class SessionLost(Exception):
    """The server does not know the session any longer."""


class Reply:
    def __init__(self, data):
        (magic, version, self.status, flags, self.attempt, key_len, length, self.epoch, self.client_id, self.sequence,
         self.first_incomplete, self.cookie, self.argument, self.expect) = HEADER.unpack_from(data)
        if magic != b"\xf5\x52" or version != 1 or length != len(data) or 68 + key_len > length:
            raise ValueError("not a reply")
        if crc32c(data[:-4]) != int.from_bytes(data[-4:], "big"):
            raise ValueError("damaged")
        if flags & 1:
            raise ValueError("tagged")
        self.op = flags >> 4
        self.value = data[64 + key_len:-4]


def request(op, client_id, sequence, *, flags=0, attempt=0, epoch=0, first_incomplete=0, cookie=NO_COOKIE, argument=0,
            expect=0, key=b"", value=b""):
    length = 68 + len(key) + len(value)
    if length > 1200:
        raise ValueError("key and value do not fit a datagram")
    head = HEADER.pack(b"\xf5\x50", 1, op, flags, attempt, len(key), length, epoch, client_id, sequence,
                       first_incomplete, cookie, argument & (1 << 64) - 1, expect)
    body = head + key + value
    return body + crc32c(body).to_bytes(4, "big")


class Client:
    def __init__(self, host, port, timeout=5.0):
        self.address = (host, port)
        self.timeout = timeout
        self.setbacks = 0  # Answers in a row that led to a new try.
        self.counters = {"malformed": 0, "unknown": 0, "late": 0}
        self._new_port()
        self._new_session()

    def _new_port(self):
        family = socket.getaddrinfo(*self.address, type=socket.SOCK_DGRAM)[0][0]
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.connect(self.address)

    def _set_back(self, deadline):
        """The server has answered, but only so that the client has to try again. The first two in a row cost no time."""
        self.setbacks += 1
        if self.setbacks > 2:
            wait = min(2.0, 0.05 * 2 ** min(self.setbacks - 3, 10)) * random.uniform(0.75, 1.25)
            time.sleep(min(wait, max(0.0, deadline - time.monotonic())))

    def _new_session(self):
        self.client_id = int.from_bytes(os.urandom(8), "big")
        self.epoch, self.cookie, self.number, self.sequence = 0, NO_COOKIE, None, 0
        self.hello_attempts, self.heard, self.lease = 0, time.monotonic(), 120.0

    # -- operations ---------------------------------------------------------------------------------------------------

    def ping(self):
        self._call(PING)

    def get(self, key):
        """The value and its revision, or (None, 0)."""
        reply = self._call(GET, key=key, may=(OK, NOT_FOUND))
        return (reply.value, reply.argument) if reply.status == OK else (None, 0)

    def put(self, key, value, ttl_ms=0, flags=0, revision=0):
        """The new revision, or None if the condition does not hold."""
        reply = self._call(PUT, key=key, value=value, argument=ttl_ms, flags=flags, expect=revision, may=(OK, NOT_MET))
        return reply.argument if reply.status == OK else None

    def delete(self, key):
        return self._call(DELETE, key=key, may=(OK, NOT_FOUND)).status == OK

    def add(self, key, delta):
        total = self._call(ADD, key=key, argument=delta).expect
        return total - (1 << 64) if total >> 63 else total

    def expire(self, key, ttl_ms):
        return self._call(EXPIRE, key=key, argument=ttl_ms, may=(OK, NOT_FOUND)).status == OK

    # -- the session --------------------------------------------------------------------------------------------------

    def _call(self, op, may=(OK,), **fields):
        deadline = time.monotonic() + self.timeout
        sent = False
        while True:
            try:
                if self.number is None or time.monotonic() - self.heard > self.lease / 2:
                    self._hello(deadline)
                self.sequence += 1
                sent = True
                reply = self._exchange(op, self.sequence, deadline, **fields)
                break
            except SessionLost:
                self._new_session()
                self._set_back(deadline)
                if sent and op in WRITES:
                    raise Unknown from None
            except Timeout:
                if sent and op in WRITES:
                    raise Unknown from None
                raise
        self.setbacks = 0
        if reply.status not in may:
            raise Failed(reply.status)
        return reply

    def _hello(self, deadline):
        """Opens the session, or makes sure that it is still the same one."""
        while True:
            reply = self._exchange(HELLO, 0, deadline)
            if reply.status == OK:
                lost = self.number is not None and (reply.expect, reply.epoch) != (self.number, self.epoch)
                if lost:
                    raise SessionLost
                self.epoch, self.number, self.cookie = reply.epoch, reply.expect, reply.cookie
                self.lease = reply.argument / 1000
                return
            if self.number is not None and reply.epoch != self.epoch:
                raise SessionLost
            if reply.status == CHALLENGE:
                self.cookie = reply.cookie
                self._set_back(deadline)
            elif reply.status == BUSY:
                time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
            else:
                raise Failed(reply.status)

    def _exchange(self, op, sequence, deadline, **fields):
        """Sends until an answer comes."""
        first = self.hello_attempts if op == HELLO else 0
        attempt, wait, silences = first, 0.05, 0
        while True:
            if time.monotonic() >= deadline:
                raise Timeout
            epoch = 0 if op == HELLO else self.epoch
            data = request(op, self.client_id, sequence, attempt=min(attempt, 255), epoch=epoch,
                           first_incomplete=sequence, cookie=self.cookie, **fields)
            try:
                self.socket.send(data)
            except OSError:
                pass  # As good as lost.
            until = min(deadline, time.monotonic() + wait * random.uniform(0.75, 1.25))
            reply = self._receive(op, sequence, first, until)
            if op == HELLO:
                self.hello_attempts = min(attempt + 1, 255)
            if reply is not None:
                silences = 0
                if op == HELLO:
                    return reply
                if reply.status == CHALLENGE:
                    # Not the new cookie on an old write, before it is known that the session still stands.
                    if reply.epoch != self.epoch:
                        raise SessionLost
                    self.cookie = reply.cookie
                    self._set_back(deadline)
                    self._hello(deadline)
                elif reply.status in (STALE_SESSION, WRONG_EPOCH):
                    raise SessionLost
                elif reply.status == LOADING:
                    time.sleep(max(0.0, until - time.monotonic()))
                else:
                    if reply.cookie != NO_COOKIE:
                        self.cookie = reply.cookie
                    return reply
            else:
                silences += 1
                if silences % 3 == 0:
                    self.socket.close()
                    self._new_port()
            attempt, wait = attempt + 1, min(wait * 2, 0.5)

    def _receive(self, op, sequence, first, until):
        """A reply to one of the attempts from the first on."""
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1201)
            except socket.timeout:
                return None
            except OSError:
                time.sleep(min(left, 0.01))  # No server listens there now.
                continue
            try:
                reply = Reply(data)
            except (ValueError, struct.error):
                self.counters["malformed"] += 1
                continue
            tells_epoch = op == HELLO or reply.status in (CHALLENGE, WRONG_EPOCH)
            if reply.client_id != self.client_id or not (tells_epoch or reply.epoch == self.epoch):
                self.counters["unknown"] += 1
            elif (reply.sequence, reply.op) != (sequence, op) or reply.attempt < first:
                self.counters["late"] += 1
            else:
                self.heard = time.monotonic()
                return reply


def check(host, port):
    client = Client(host, port)
    k, n = b"pannier_udp:k", b"pannier_udp:n"
    client.ping()
    for key in (k, n):
        client.delete(key)
    assert client.get(k) == (None, 0)
    first = client.put(k, b"one", flags=IF_ABSENT)
    assert first and client.get(k) == (b"one", first)
    assert client.put(k, b"two", flags=IF_ABSENT) is None
    assert client.put(k, b"two", flags=IF_REVISION, revision=first + 1_000_000) is None
    assert client.put(k, b"two", flags=IF_REVISION, revision=first) > first
    assert client.expire(k, 60_000) and not client.expire(b"pannier_udp:none", 1)
    assert [client.add(n, delta) for delta in (5, -7, 1 << 40)] == [5, -2, (1 << 40) - 2]
    try:
        client.add(k, 1)
        raise AssertionError("ADD on no integer")
    except Failed as failed:
        assert failed.status == WRONG_TYPE
    client.put(k, b"short", ttl_ms=20)
    time.sleep(0.05)
    assert client.get(k) == (None, 0)
    # A new port in the middle of a session: challenged, checked, and on.
    client.socket.close()
    client._new_port()
    number = client.number
    assert client.add(n, 2) == 1 << 40 and client.number == number
    # The same request twice, by hand: it runs once.
    again = dict(key=n, argument=1)
    client.sequence += 1
    sums = [client._exchange(ADD, client.sequence, time.monotonic() + 5, **again).expect for _ in range(2)]
    assert sums == [(1 << 40) + 1] * 2
    assert client.delete(n) and not client.delete(n)
    print("ok")


def vectors(page):
    blocks = re.findall(r"### (.*)\n\n```hex\n([^`]*)```", open(page, encoding="utf-8").read())
    known, challenged = 0x0102030405060708, bytes.fromhex("01000000000000002122232425262728")
    here = {"epoch": 0x11223344, "cookie": bytes.fromhex("01000000000000093132333435363738")}
    made = {
        "HELLO, without": request(HELLO, known, 0),
        "HELLO, with the": request(HELLO, known, 0, attempt=1, cookie=challenged),
        "PUT": request(PUT, known, 1, flags=IF_ABSENT, first_incomplete=1, argument=60_000, key=b"key", value=b"value",
                       **here),
        "ADD": request(ADD, known, 2, attempt=3, first_incomplete=1, argument=-1, key=b"n", **here),
    }
    checked = 0
    for title, text in blocks:
        data = bytes.fromhex(text)
        assert crc32c(data[:-4]) == int.from_bytes(data[-4:], "big"), title
        for start, mine in made.items():
            if title.startswith(start):
                assert data == mine, title
                checked += 1
        if title.startswith(("OK", "CHALLENGE")) and "tagged" not in title:
            reply = Reply(data)
            cookie = challenged if title.startswith("CHALLENGE") else here["cookie"]
            assert (reply.client_id, reply.epoch, reply.cookie) == (known, here["epoch"], cookie), title
            checked += 1
    assert crc32c(b"123456789") == 0xE3069283 and checked == 8, checked
    print("ok")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "check":
        check(sys.argv[2], int(sys.argv[3]))
    elif len(sys.argv) == 3 and sys.argv[1] == "vectors":
        vectors(sys.argv[2])
    else:
        sys.exit(__doc__)
