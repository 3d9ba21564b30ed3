"""A small web service that keeps its sessions in Pannier: login, a counter, logout.

    python3 app.py        needs redis-py (requirements.txt) and a Pannier; then open http://127.0.0.1:8000/

    STORE         where Pannier is       redis://127.0.0.1:7878, or redis://:PASSWORD@hub:7878
    LISTEN        where to listen        127.0.0.1:8000
    SESSION_S     seconds a session lasts from its last use    1800

A session is one key with a time to live, which every use renews; its counter is another. Nothing about users is kept in
the service itself, so it may be restarted or run many times over, and no user is logged out.
"""

import html
import http.cookies
import http.server
import os
import secrets
import signal
import threading
import urllib.parse

import redis

COOKIE = "session"
BODY_BYTES_MAX = 4_096
NAME_CHARS_MAX = 64
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 4rem auto;
padding: 0 1rem }} input, button {{ font: inherit; padding: .3rem .6rem }}</style></head>
<body><h1>{title}</h1>{body}</body></html>"""
LOGIN = """<form method="post" action="/login"><label>Your name <input name="name" required maxlength="64" autofocus></label>
<button>Log in</button></form>"""
HOME = """<p>You have seen this page <strong>{visits}</strong> time{s} since you logged in.</p>
<form method="post" action="/logout"><button>Log out</button></form>"""
DOWN = """<p>Sessions cannot be reached just now. Nothing of yours is lost by that; please try again in a moment.</p>"""
FULL = """<p>There is no room for another session just now. Please try again later.</p>"""


class Sessions:
    """Sessions in the store. Every method may raise redis.RedisError; short time limits keep a page from hanging."""

    def __init__(self, url, seconds):
        self.seconds = seconds
        self.store = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5, decode_responses=True)

    def create(self, name):
        token = secrets.token_urlsafe(32)
        self.store.set(f"session:{token}", name, ex=self.seconds)
        return token

    def visit(self, token):
        """The name and the number of this visit, or None if there is no such session (any more)."""
        name = self.store.getex(f"session:{token}", ex=self.seconds)
        if name is None:
            return None
        # Both in one transaction: a counter never stays behind without a time to live.
        visits, _ = self.store.pipeline().incr(f"visits:{token}").expire(f"visits:{token}", self.seconds).execute()
        return name, visits

    def end(self, token):
        self.store.delete(f"session:{token}", f"visits:{token}")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    sessions = None  # set by `serve`

    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, "Alive", "")
        elif self.path == "/":
            self.guarded(self.home)
        else:
            self.answer(404, "Not found", "<p><a href='/'>To the start</a></p>")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer(413, "Too much", "")
        form = urllib.parse.parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        if self.path == "/login":
            self.guarded(lambda: self.login(form.get("name", [""])[0].strip()[:NAME_CHARS_MAX]))
        elif self.path == "/logout":
            self.guarded(self.logout)
        else:
            self.answer(404, "Not found", "")

    def guarded(self, page):
        """A page that needs the store; where it cannot be reached, or is full, the page says so."""
        try:
            page()
        except redis.exceptions.OutOfMemoryError:
            self.answer(503, "Full", FULL, {"Retry-After": "60"})
        except redis.RedisError as error:
            self.log_error("the store: %s", error)
            self.answer(503, "Back in a moment", DOWN, {"Retry-After": "2"})

    def home(self):
        found = self.sessions.visit(self.token()) if self.token() else None
        if found is None:
            return self.answer(200, "Welcome", LOGIN)
        name, visits = found
        self.answer(200, f"Hello, {html.escape(name)}", HOME.format(visits=visits, s="" if visits == 1 else "s"))

    def login(self, name):
        if not name:
            return self.answer(400, "Who are you?", LOGIN)
        self.redirect(self.sessions.create(name), self.sessions.seconds)

    def logout(self):
        if self.token():
            self.sessions.end(self.token())
        self.redirect("", 0)

    def token(self):
        try:
            cookie = http.cookies.SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except http.cookies.CookieError:
            return None
        return cookie.value if cookie and len(cookie.value) <= 64 else None

    def redirect(self, token, seconds):
        # Behind TLS, say Secure as well. SameSite keeps other sites from posting in a visitor's name.
        cookie = f"{COOKIE}={token}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax"
        self.answer(303, "Onward", "", {"Location": "/", "Set-Cookie": cookie})

    def answer(self, status, title, body, headers=()):
        page = PAGE.format(title=title, body=body).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page)


def serve(url, listen, seconds):
    """A server that is bound and not yet running."""
    host, port = listen.rsplit(":", 1)
    handler = type("Handler", (Handler,), {"sessions": Sessions(url, seconds)})
    server = http.server.ThreadingHTTPServer((host, int(port)), handler)
    server.daemon_threads = True
    return server


def main():
    server = serve(os.environ.get("STORE", "redis://127.0.0.1:7878"), os.environ.get("LISTEN", "127.0.0.1:8000"),
                   int(os.environ.get("SESSION_S", "1800")))
    # As process 1 of a container nothing ends on SIGTERM unless it says so.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("listening on http://%s:%d/" % server.server_address[:2], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
