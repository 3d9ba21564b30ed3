"""Hashes, sets and a script: what they cost beside other servers, and HGETALL beside a GET of as many bytes.

10,000 hashes and as many sets of twenty members each, values of 32 bytes, 50 connections with 16 requests in flight each.
"""

import dataclasses
import hashlib
import time

import measure
from process import command, connect
from servers import Missing

KEYS, FIELDS, VALUE_BYTES = 10_000, 20, 32
VALUE = b"v" * VALUE_BYTES
FLAGS = ("--pipeline", "16", "--keys", str(KEYS), "--value-size", str(VALUE_BYTES))
# What a lock is let go with: by its holder alone.
UNLOCK = b"if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"
UNLOCK_SHA1 = hashlib.sha1(UNLOCK).hexdigest()
# The whole reply of an HGETALL, less what a GET's reply has around its value.
PAIR_BYTES = len(f"$8\r\nfield:00\r\n${VALUE_BYTES}\r\n\r\n") + VALUE_BYTES
AS_MANY_BYTES = len(f"*{2 * FIELDS}\r\n") + FIELDS * PAIR_BYTES - len("$1057\r\n\r\n")
QUICK = ("HSET", "EVALSHA unlock, one's own")
AS_MANY = f"GET, {AS_MANY_BYTES:,} bytes"


@dataclasses.dataclass(frozen=True)
class Command:
    """One command. With `requests` a turn is so many of them rather than so long, and begins with no keys but the filled ones."""

    name: str
    words: str
    flags: tuple = FLAGS
    fill: bool = False
    requests: int = 0


def commands(quick):
    """What is sent. What adds or deletes has so many keys that most requests of a turn find one that was not asked for before."""
    requests = 20_000 if quick else 200_000
    many = ("--pipeline", "16", "--keys", str(5 * requests), "--value-size", str(VALUE_BYTES))
    return [Command("HSET", "HSET h:{key} {field} {value}"), Command("HGET", "HGET h:{key} {field}"),
            Command("HGETALL", "HGETALL h:{key}"), Command("SISMEMBER", "SISMEMBER s:{key} {field}"),
            Command("SADD, present", "SADD s:{key} {field}"),
            Command("SADD, new", "SADD new:{key} {field}", flags=many, requests=requests),
            # Another's lock stays; one's own is deleted.
            Command("EVALSHA unlock, another's", f"EVALSHA {UNLOCK_SHA1} 1 {{key}} another", fill=True),
            Command("EVALSHA unlock, one's own", f"EVALSHA {UNLOCK_SHA1} 1 {{key}} {{value}}", flags=many, fill=True,
                    requests=requests)]


def as_many():
    """The GET that HGETALL is beside."""
    flags = ("--pipeline", "16", "--keys", str(KEYS), "--value-size", str(AS_MANY_BYTES))
    return Command(AS_MANY, "GET {key}", flags=flags, fill=True)


def send(server, requests):
    """Sends commands whose replies are one line each, and waits for them."""
    with connect(server.port) as connection:
        connection.sendall(b"".join(requests))
        replies = b""
        while replies.count(b"\n") < len(requests):
            received = connection.recv(1 << 20)
            if not received:
                raise Missing(f"{server.name} closed the connection")
            replies += received
        errors = [line for line in replies.split(b"\r\n") if line.startswith(b"-")]
        if errors:
            raise Missing(f"{server.name}: {errors[0].decode()}")


def prepare(server):
    """From nothing to all hashes, all sets and the script."""
    server.filled = None
    send(server, [command("FLUSHALL")])
    fields = [b"field:%02d" % number for number in range(FIELDS)]
    pairs = [word for field in fields for word in (field, VALUE)]
    for begin in range(0, KEYS, 100):
        keys = [b"key:%012d" % number for number in range(begin, begin + 100)]
        send(server, [command("HSET", b"h:" + key, *pairs) for key in keys])
        send(server, [command("SADD", b"s:" + key, *fields) for key in keys])
    with connect(server.port) as connection:
        connection.sendall(command("SCRIPT", "LOAD", UNLOCK))
        if UNLOCK_SHA1.encode() not in connection.recv(1000):
            raise Missing(f"{server.name} has no scripts")


def turn(server, sent, seconds):
    """One turn of one command."""
    flags = [*sent.flags, "--command", sent.words]
    if not sent.requests:
        return measure.turn(server, flags, seconds)
    send(server, [command("FLUSHALL")])
    # What was flushed is freed after the reply.
    time.sleep(0.1)
    return measure.turn(server, [*flags, *fill_flags(sent)], None, requests=sent.requests)


def fill_flags(sent):
    return ["--fill"] if sent.fill else []


def ready(server, sent):
    """Everything that the command finds."""
    prepare(server)
    if sent.fill and not sent.requests:
        measure.bench(server, [*sent.flags, "--fill", "--requests", "1"])


def measure_command(sent, servers, rounds, seconds):
    """One command, on every server that takes RESP."""
    for server in servers:
        ready(server, sent)
    arms = {server.name: lambda server=server: turn(server, sent, seconds) for server in servers}
    pairs = measure.alternate(arms, rounds)
    return {"command": sent.words, "rounds": rounds, "seconds": seconds, "requests": sent.requests,
            "arms": measure.summarize(pairs, "Pannier")}


def measure_as_many(server, rounds, seconds):
    """HGETALL and a GET whose reply has as many bytes, on one server."""
    pair = {"HGETALL": Command("HGETALL", "HGETALL h:{key}"), AS_MANY: as_many()}
    ready(server, pair[AS_MANY])
    pairs = measure.alternate({name: lambda sent=sent: turn(server, sent, seconds) for name, sent in pair.items()}, rounds)
    ratios = [taken["cpu_ns"] / other["cpu_ns"] for taken, other in zip(pairs["HGETALL"], pairs[AS_MANY])]
    return {"server": server.name, "bytes": AS_MANY_BYTES, "rounds": rounds, "seconds": seconds,
            "ratio": measure.spread(ratios),
            **{name: measure.spread([taken["cpu_ns"] for taken in turns]) for name, turns in
               (("hgetall_ns", pairs["HGETALL"]), ("get_ns", pairs[AS_MANY]))}}
