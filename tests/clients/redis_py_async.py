"""redis-py's asyncio client in its default settings: python redis_py_async.py PORT"""
import asyncio
import sys

import redis.asyncio as redis


async def main(port):
    r = redis.Redis(port=port)
    await r.flushall()
    assert await r.set("k", "v", ex=60) and await r.get("k") == b"v"
    async with r.pipeline(transaction=True) as pipe:
        assert await pipe.incr("n").incr("n").get("n").execute() == [1, 2, b"2"]
    await asyncio.gather(*(r.incr("shared") for _ in range(50)))
    assert await r.get("shared") == b"50"
    assert {key async for key in r.scan_iter("*")} == {b"k", b"n", b"shared"}
    await r.flushall()
    await r.aclose()


asyncio.run(main(int(sys.argv[1])))
