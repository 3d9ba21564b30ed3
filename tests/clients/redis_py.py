"""redis-py in its default settings against a server on 127.0.0.1:PORT: python redis_py.py PORT"""
import sys
import threading

import redis

port = int(sys.argv[1])


def strings(r):
    assert r.ping() is True
    assert r.set("k", "v") is True
    assert r.get("k") == b"v"
    assert r.get("absent") is None
    assert r.set("k", "other", nx=True) is None
    assert r.set("k", "w", get=True) == b"v"
    assert r.set("t", "1", ex=100) and 98 <= r.ttl("t") <= 100
    assert r.set("t", "2", px=100_000) and 98_000 <= r.pttl("t") <= 100_000
    assert r.set("t", "3", keepttl=True) and r.ttl("t") > 90
    assert r.getex("t", persist=True) == b"3" and r.ttl("t") == -1
    assert r.setex("t", 10, "x") and r.psetex("t", 10_000, "x")
    assert r.getdel("t") == b"x" and r.ttl("t") == -2
    assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n", 2) == 40
    assert r.incrbyfloat("f", 1.5) == 1.5
    assert r.append("a", "foo") == 3 and r.append("a", "bar") == 6 and r.strlen("a") == 6
    assert r.getrange("a", 1, -2) == b"ooba" and r.setrange("a", 8, "!") == 9
    assert r.get("a") == b"foobar\0\0!"
    assert r.mset({"m1": 1, "m2": b"\x00\xff"}) and r.mget("m1", "none", "m2") == [b"1", None, b"\x00\xff"]
    assert r.msetnx({"m2": 1, "m3": 1}) is False and r.exists("m3") == 0
    big = bytes(range(256)) * 4096 * 3
    assert r.set("big", big) and r.get("big") == big and r.strlen("big") == len(big)


def keys(r):
    assert r.exists("k", "k", "absent") == 2
    assert r.type("k") == "string" or r.type("k") == b"string"
    assert r.expire("k", 50) is True and r.expire("k", 60, nx=True) is False and r.persist("k") is True
    assert r.expireat("k", 4_000_000_000) is True and r.expiretime("k") == 4_000_000_000
    assert r.rename("k", "k2") and r.copy("k2", "k3") is True and r.delete("k2", "k3", "absent") == 2
    try:
        r.rename("absent", "x")
    except redis.ResponseError as error:
        assert "no such key" in str(error)
    else:
        raise AssertionError("RENAME of no key")
    names = {b"scan:%d" % i for i in range(2500)}
    with r.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.set(name, name)
        assert all(pipe.execute())
    assert set(r.scan_iter("scan:*", count=100)) == names
    assert set(r.keys("scan:1?")) == {b"scan:%d" % i for i in range(10, 20)}
    assert r.dbsize() >= 2500 and r.randomkey() is not None
    assert r.unlink(*names) == 2500
    assert list(r.scan_iter("scan:*")) == []


def transactions(r):
    with r.pipeline() as pipe:
        assert pipe.set("x", 1).incr("x").get("x").execute() == [True, 2, b"2"]
    other = redis.Redis(port=port)
    with r.pipeline() as pipe:
        pipe.watch("x")
        other.set("x", 10)
        pipe.multi()
        pipe.set("x", 11)
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("a watched key was changed, and EXEC went on")
    assert r.get("x") == b"10"
    assert r.transaction(lambda p: (p.multi(), p.incr("x")), "x") == [11]
    with r.pipeline() as pipe:
        pipe.set("word", "abc").incr("word").set("after", 1)
        results = pipe.execute(raise_on_error=False)
        assert isinstance(results[1], redis.ResponseError) and results[2] is True


def counters_from_threads(r):
    r.delete("shared")
    threads = [threading.Thread(target=lambda: [r.incr("shared") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert r.get("shared") == b"1600"


def locks(r):
    """redis-py's own Lock releases by a script, which is declined: taking it works, and so does SET NX as a lock."""
    assert r.lock("lock", timeout=10).acquire(blocking=False) is True
    assert r.lock("lock", timeout=10).acquire(blocking=False) is False
    assert r.delete("lock") == 1


def server(r):
    info = r.info()
    assert info["redis_version"].startswith("7.")
    assert r.info("keyspace")["db0"]["keys"] >= 1
    assert isinstance(r.client_id(), int)
    assert r.client_setname("tester") and r.client_getname() in ("tester", b"tester")
    assert any(client["name"] == "tester" for client in r.client_list())
    assert "maxmemory" in r.config_get("maxmemory")
    assert len(r.time()) == 2
    assert r.command_count() > 50 and "get" in r.command()
    assert r.echo("hello") == b"hello"
    assert r.select(3) and r.set("three", 3) and r.select(0) and r.get("three") is None
    assert r.execute_command("SELECT", 0)


def decoded():
    r = redis.Redis(port=port, decode_responses=True)
    assert r.set("text", "grüße") and r.get("text") == "grüße"
    assert r.mget(["text", "none"]) == ["grüße", None]
    assert "text" in list(r.scan_iter("te*"))


def second_protocol():
    """RESP2 said out loud, and a pool by URL with a database."""
    r = redis.Redis(port=port, protocol=2)
    assert r.set("two", 2) and r.get("two") == b"2" and r.get("none") is None
    r = redis.from_url(f"redis://127.0.0.1:{port}/5")
    assert r.set("five", 5) and r.get("five") == b"5" and redis.Redis(port=port).get("five") is None


r = redis.Redis(port=port)
r.flushall()
for part in (strings, keys, transactions, counters_from_threads, locks):
    part(r)
single = redis.Redis(port=port, single_connection_client=True)
server(single)
decoded()
second_protocol()
r.flushall()
