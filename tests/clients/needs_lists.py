"""What libraries that need lists do here: they refuse, and never let anything through: python needs_lists.py PORT

python-redis-lock (signals by a list), limits' moving window and rq. When this fails, docs/frameworks.md has to change."""
import sys

import limits
import redis
import redis_lock
import rq

r = redis.Redis(port=int(sys.argv[1]))
r.flushdb()


def refused(action, *texts):
    try:
        outcome = action()
    except redis.ResponseError as error:
        assert any(text in str(error) for text in texts), error
        return
    raise AssertionError(f"let through: {outcome}")


UNKNOWN = ("unknown command", "Unknown Redis command called from script")

# It takes a lock that is free; its release and its waiting do not work, and the lock goes by its time to live.
lock = redis_lock.Lock(r, "job", expire=30)
assert lock.acquire(blocking=False) and not redis_lock.Lock(r, "job", expire=30).acquire(blocking=False)
refused(lock.release, *UNKNOWN)
refused(lambda: redis_lock.Lock(r, "job", expire=30).acquire(timeout=1), *UNKNOWN)
assert 0 < r.ttl("lock:job") <= 30

moving = limits.strategies.MovingWindowRateLimiter(limits.storage.storage_from_string(f"redis://127.0.0.1:{sys.argv[1]}"))
refused(lambda: moving.hit(limits.parse("2/second"), "ada"), *UNKNOWN)

refused(lambda: rq.Queue(connection=r).enqueue(print, "x"), *UNKNOWN)
r.flushdb()
