"""redis-py's Lock, blocking and asyncio: acquire, contend, extend, expire, release: python redis_py_lock.py PORT"""
import asyncio
import sys
import threading
import time

import redis
import redis.asyncio
from redis.exceptions import LockError, LockNotOwnedError

port = int(sys.argv[1])
r = redis.Redis(port=port)
r.flushdb()


def refused(error, action):
    try:
        action()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


mine, theirs = r.lock("job", timeout=30), r.lock("job", timeout=30, blocking=False)
assert mine.acquire() and not theirs.acquire()
assert mine.locked() and mine.owned() and not theirs.owned()
refused(LockError, theirs.release)
assert mine.extend(60) and 80_000 <= r.pttl("job") <= 90_000
assert mine.reacquire() and 29_000 <= r.pttl("job") <= 30_000
mine.release()
assert not mine.locked() and theirs.acquire()
theirs.release()

# Who waits gets it when it is released.
order = []
mine.acquire()


def wait():
    with r.lock("job", timeout=30, blocking_timeout=20):
        order.append("second")


waiting = threading.Thread(target=wait)
waiting.start()
time.sleep(0.3)
order.append("first")
mine.release()
waiting.join(20)
assert order == ["first", "second"], order

# A lock that expired belongs to the next, and its first owner neither extends nor releases it.
short = r.lock("short", timeout=0.1)
assert short.acquire()
time.sleep(0.3)
next_owner = r.lock("short", timeout=30)
assert next_owner.acquire(blocking=False)
refused(LockNotOwnedError, lambda: short.extend(10))
refused(LockNotOwnedError, short.release)
assert next_owner.owned()
next_owner.release()


async def counted_under_a_lock():
    client = redis.asyncio.Redis(port=port)
    seen = []

    async def once(number):
        async with client.lock("async", timeout=30, sleep=0.005):
            seen.append(number)
            await asyncio.sleep(0.002)
            assert seen[-1] == number

    await asyncio.gather(*(once(number) for number in range(10)))
    assert sorted(seen) == list(range(10))
    await client.aclose()


asyncio.run(counted_under_a_lock())
r.flushdb()
