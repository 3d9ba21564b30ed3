"""slowapi under Starlette: requests up to the limit, 429 beyond it, and again after the window: python slowapi_app.py PORT"""
import sys
import time

import redis
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

uri = f"redis://127.0.0.1:{sys.argv[1]}"
store = redis.Redis.from_url(uri)
store.flushdb()
app = Starlette()
limiter = Limiter(key_func=get_remote_address, storage_uri=uri)
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@limiter.limit("3/2seconds")
async def short(request):
    return PlainTextResponse("short")


app.add_route("/short", short)
one = TestClient(app, client=("10.0.0.1", 1))
two = TestClient(app, client=("10.0.0.2", 1))
assert [one.get("/short").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
assert two.get("/short").status_code == 200
time.sleep(2.1)
assert one.get("/short").status_code == 200
assert store.keys("LIMITS*")
limiter.reset()
assert not store.keys("LIMITS*")
store.flushdb()
