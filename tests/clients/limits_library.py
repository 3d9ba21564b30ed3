"""limits, blocking and asyncio: fixed window and sliding window counter: python limits_library.py PORT"""
import asyncio
import sys
import time

import limits
import limits.aio
import redis

uri = f"redis://127.0.0.1:{sys.argv[1]}"
r = redis.Redis.from_url(uri)
r.flushdb()
storage = limits.storage.storage_from_string(uri)
assert storage.check()
rate, short = limits.parse("5/minute"), limits.parse("2/second")

for strategy in (limits.strategies.FixedWindowRateLimiter, limits.strategies.SlidingWindowCounterRateLimiter):
    limiter = strategy(storage)
    who = strategy.__name__
    assert limiter.test(rate, who)
    assert [limiter.hit(rate, who) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not limiter.test(rate, who) and limiter.hit(rate, "another")
    stats = limiter.get_window_stats(rate, who)
    assert stats.remaining == 0 and stats.reset_time <= time.time() + 121
    limiter.clear(rate, who)
    assert limiter.hit(rate, who, cost=4) and not limiter.hit(rate, who, cost=2)
    assert limiter.hit(short, who) and limiter.hit(short, who)
    time.sleep(2.1)
    assert limiter.hit(short, who)

storage.incr("counter", 60, 3)
assert storage.get("counter") == 3 and 0 < r.ttl("LIMITS:counter") <= 60
assert storage.reset() >= 1 and not r.keys("LIMITS*")


async def asynchronous():
    limiter = limits.aio.strategies.FixedWindowRateLimiter(limits.storage.storage_from_string("async+" + uri, implementation="redispy"))
    hits = await asyncio.gather(*(limiter.hit(rate, "async") for _ in range(12)))
    assert sum(hits) == 5, hits


asyncio.run(asynchronous())
r.flushdb()
