"""Flask-Session over Redis, through real HTTP requests on loopback: python flask_session_app.py PORT"""
import http.cookiejar
import sys
import threading
import urllib.request

import redis
from flask import Flask, session
from flask_session import Session
from werkzeug.serving import make_server

store = redis.Redis(port=int(sys.argv[1]))
store.flushdb()
app = Flask(__name__)
app.config.update(SESSION_TYPE="redis", SESSION_REDIS=store)
Session(app)


@app.get("/count")
def count():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/leave")
def leave():
    session.clear()
    return "left"


web = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=web.serve_forever, daemon=True).start()


def browser():
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    return lambda page: opener.open(f"http://127.0.0.1:{web.server_port}/{page}", timeout=10).read()


one, two = browser(), browser()
assert [one("count") for _ in range(3)] == [b"1", b"2", b"3"]
assert two("count") == b"1"
assert len(store.keys("session:*")) == 2 and all(store.ttl(key) > 1000 for key in store.keys("session:*"))
one("leave")
assert one("count") == b"1" and two("count") == b"2"
web.shutdown()
store.flushdb()
