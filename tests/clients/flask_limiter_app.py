"""Flask-Limiter over Redis: requests up to the limit, 429 beyond it, and again after the window: python flask_limiter_app.py PORT"""
import sys
import time

import redis
from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

uri = f"redis://127.0.0.1:{sys.argv[1]}"
store = redis.Redis.from_url(uri)
store.flushdb()
app = Flask(__name__)
limiter = Limiter(get_remote_address, app=app, storage_uri=uri, default_limits=["100 per hour"], headers_enabled=True)


@app.get("/short")
@limiter.limit("2 per 2 seconds")
def short():
    return "short"


@app.get("/default")
def default():
    return "default"


web = app.test_client()
ask = lambda page, address="10.0.0.1": web.get(page, environ_base={"REMOTE_ADDR": address})  # noqa: E731
assert [ask("/short").status_code for _ in range(4)] == [200, 200, 429, 429]
assert ask("/short", "10.0.0.2").status_code == 200
beyond = ask("/short")
assert beyond.headers["X-RateLimit-Remaining"] == "0" and int(beyond.headers["Retry-After"]) <= 2
assert ask("/default").headers["X-RateLimit-Remaining"] == "99"
time.sleep(2.1)
assert ask("/short").status_code == 200
with app.test_request_context(environ_base={"REMOTE_ADDR": "10.0.0.1"}):
    limiter.reset()
assert not store.keys("LIMITS*")

# The other strategy that needs no lists.
sliding = Flask("sliding")
Limiter(get_remote_address, app=sliding, storage_uri=uri, default_limits=["3 per minute"], strategy="sliding-window-counter")
sliding.add_url_rule("/", view_func=lambda: "ok")
codes = [sliding.test_client().get("/").status_code for _ in range(5)]
assert codes == [200, 200, 200, 429, 429], codes
store.flushdb()
