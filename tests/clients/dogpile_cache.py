"""dogpile.cache over Redis with its distributed lock: one creator among many processes: python dogpile_cache.py PORT"""
import subprocess
import sys
import time

import redis
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

port = int(sys.argv[1])
r = redis.Redis(port=port)
region = make_region().configure(
    "dogpile.cache.redis",
    expiration_time=600,
    arguments={
        "host": "127.0.0.1",
        "port": port,
        "redis_expiration_time": 1200,
        "distributed_lock": True,
        "lock_timeout": 30,
        "thread_local_lock": False,
    },
)


def slow():
    r.incr("created")
    time.sleep(0.5)
    return {"made": 1}


if sys.argv[2:] == ["worker"]:
    assert region.get_or_create("shared", slow) == {"made": 1}
    sys.exit()

r.flushdb()
workers = [subprocess.Popen([sys.executable, __file__, str(port), "worker"]) for _ in range(3)]
assert [worker.wait(60) for worker in workers] == [0, 0, 0]
assert r.get("created") == b"1", r.get("created")
assert 1100 < r.ttl("shared") <= 1200 and not r.keys("_lock*")

region.set("k", [1, "two"])
assert region.get("k") == [1, "two"] and region.get("none") is NO_VALUE
region.set_multi({"a": 1, "b": 2})
assert region.get_multi(["a", "none", "b"]) == [1, NO_VALUE, 2]
region.delete("k")
region.delete_multi(["a", "b"])
assert region.get_multi(["k", "a", "b"]) == [NO_VALUE] * 3


@region.cache_on_arguments()
def double(number):
    r.incr("doubled")
    return 2 * number


assert [double(4), double(4), double(5)] == [8, 8, 10] and r.get("doubled") == b"2"
double.invalidate(4)
assert double(4) == 8 and r.get("doubled") == b"3"

# A lock that its owner took too long over is another's.
lock = region.backend.get_mutex("mutex")
assert lock.acquire() and not region.backend.get_mutex("mutex").acquire(False)
lock.release()
assert region.backend.get_mutex("mutex").acquire(False)
r.flushdb()
