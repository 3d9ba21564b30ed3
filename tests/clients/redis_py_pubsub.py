"""redis-py's pub/sub, key events and client-side cache on 127.0.0.1:PORT: python redis_py_pubsub.py PORT"""
import sys
import time

import redis
from redis.cache import CacheConfig

port = int(sys.argv[1])


def next_message(pubsub):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        message = pubsub.get_message(timeout=1)
        if message:
            return message
    raise AssertionError("no message came")


def published(protocol):
    r = redis.Redis(port=port, protocol=protocol)
    pubsub = r.pubsub()
    pubsub.subscribe("news", "sport")
    pubsub.psubscribe("n*")
    assert [next_message(pubsub)["data"] for _ in range(3)] == [1, 2, 3]
    assert r.publish("news", "one") == 2 and r.publish("sport", b"\x00\xff") == 1 and r.publish("x", "y") == 0
    got = [next_message(pubsub) for _ in range(3)]
    assert [(m["type"], m["channel"], m["data"]) for m in got] == [
        ("message", b"news", b"one"),
        ("pmessage", b"news", b"one"),
        ("message", b"sport", b"\x00\xff"),
    ], got
    assert (b"news", 1) in r.pubsub_numsub("news") and r.pubsub_numpat() == 1
    assert set(r.pubsub_channels()) == {b"news", b"sport"}
    big = b"x" * 300_000
    assert r.publish("sport", big) == 1
    while (message := next_message(pubsub))["channel"] != b"sport":
        pass
    assert message["data"] == big
    pubsub.ping()
    pubsub.unsubscribe()
    pubsub.punsubscribe()
    for _ in range(3):
        next_message(pubsub)
    assert r.publish("news", "gone") == 0
    pubsub.close()


def key_events():
    r = redis.Redis(port=port)
    r.config_set("notify-keyspace-events", "Ex$")
    pubsub = r.pubsub(ignore_subscribe_messages=True)
    pubsub.psubscribe("__keyevent@0__:*")
    while r.pubsub_numpat() == 0:
        pubsub.get_message(timeout=0.1)
    r.set("short", "x", px=50)
    seen = [next_message(pubsub) for _ in range(2)]
    assert [(m["channel"], m["data"]) for m in seen] == [
        (b"__keyevent@0__:set", b"short"),
        (b"__keyevent@0__:expired", b"short"),
    ], seen
    r.config_set("notify-keyspace-events", "")
    pubsub.close()


def provider():
    """What a provider of configuration such as Traefik's does: it watches its prefix by key events, and reads again."""
    r = redis.Redis(port=port, decode_responses=True)
    r.config_set("notify-keyspace-events", "KEA")
    pubsub = r.pubsub(ignore_subscribe_messages=True)
    pubsub.psubscribe("__keyspace@0__:traefik*")
    while r.pubsub_numpat() == 0:
        pubsub.get_message(timeout=0.1)
    r.set("other", "x")
    r.set("traefik/http/routers/web/rule", "Host(`a`)")
    r.set("traefik/http/routers/web/rule", "Host(`b`)", ex=100)
    r.delete("traefik/http/routers/web/rule")
    seen = [next_message(pubsub) for _ in range(4)]
    assert [m["data"] for m in seen] == ["set", "set", "expire", "del"], seen
    assert {m["channel"] for m in seen} == {"__keyspace@0__:traefik/http/routers/web/rule"}
    assert list(r.scan_iter("traefik/*")) == []
    r.config_set("notify-keyspace-events", "")
    pubsub.close()


def cache():
    # redis-py asks for a server of version 7.4, which CLIENT TRACKING does not need.
    redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"
    cached = redis.Redis(port=port, protocol=3, cache_config=CacheConfig())
    other = redis.Redis(port=port)
    other.set("cached", "1")
    assert cached.get("cached") == b"1" and cached.get("cached") == b"1"
    assert cached.get_cache().size == 1
    other.set("cached", "2")
    deadline = time.monotonic() + 20
    while cached.get("cached") != b"2":
        assert time.monotonic() < deadline, "the cache kept an old value"
        time.sleep(0.01)
    other.flushall()
    while cached.get("cached") is not None:
        assert time.monotonic() < deadline, "the cache kept a value over a flush"
        time.sleep(0.01)


redis.Redis(port=port).flushall()
for protocol in 2, 3:
    published(protocol)
key_events()
provider()
cache()
print("ok")
