"""Tests of the web service against a real Pannier.

    python3 test_app.py BINARY       starts `BINARY serve` on free ports, stops it and fills it
    python3 test_app.py --at ADDR    uses the Pannier at ADDR, and leaves it running

Standard library and redis-py. Exit code 0: all passed.
"""

import http.cookiejar
import re
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import redis

import app

binary = None
address = None


class Browser:
    """Keeps cookies, follows redirects."""

    def __init__(self, base):
        self.base = base
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def open(self, path, **form):
        data = urllib.parse.urlencode(form).encode() if form else None
        return self.fetch(urllib.request.Request(self.base + path, data=data))

    def post(self, path):
        return self.fetch(urllib.request.Request(self.base + path, data=b""))

    def fetch(self, request):
        try:
            with self.opener.open(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def start_pannier(port, *flags):
    process = subprocess.Popen([binary, "serve", "--tcp", f"127.0.0.1:{port}", "--udp", "off", "--admin", "off",
                                "--log-level", "warn", *flags])
    client = redis.Redis(port=port)
    for _ in range(100):
        try:
            client.ping()
            return process
        except redis.ConnectionError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError("Pannier does not answer")


def stop_pannier(process):
    process.terminate()
    assert process.wait(10) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class WithService(unittest.TestCase):
    def service(self, at, seconds=60):
        server = app.serve(f"redis://{at}", "127.0.0.1:0", seconds)
        server.RequestHandlerClass.log_message = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return "http://%s:%d" % server.server_address

    def visits(self, page):
        return int(re.search(r"<strong>(\d+)</strong>", page).group(1))


class Sessions(WithService):
    """What needs a running store, whatever started it."""

    @classmethod
    def setUpClass(cls):
        cls.own = None
        cls.at = address
        if not cls.at:
            port = free_port()
            cls.own, cls.at = start_pannier(port), f"127.0.0.1:{port}"

    @classmethod
    def tearDownClass(cls):
        if cls.own:
            stop_pannier(cls.own)

    def setUp(self):
        self.base = self.service(self.at)

    def test_login_counts_and_logout(self):
        browser = Browser(self.base)
        self.assertIn("Your name", browser.open("/")[1])
        status, page = browser.open("/login", name="Ada")
        self.assertEqual((status, "Hello, Ada" in page, self.visits(page)), (200, True, 1))
        self.assertEqual([self.visits(browser.open("/")[1]) for _ in range(3)], [2, 3, 4])
        self.assertIn("Your name", browser.post("/logout")[1])
        self.assertIn("Your name", browser.open("/")[1])

    def test_visitors_do_not_see_each_other(self):
        ada, bob = Browser(self.base), Browser(self.base)
        ada.open("/login", name="Ada")
        bob.open("/login", name="Bob")
        ada.open("/")
        self.assertIn("Hello, Bob", bob.open("/")[1])
        self.assertEqual((self.visits(ada.open("/")[1]), self.visits(bob.open("/")[1])), (3, 3))

    def test_another_instance_of_the_service_knows_the_session(self):
        browser = Browser(self.base)
        browser.open("/login", name="Ada")
        browser.base = self.service(self.at)
        self.assertEqual(self.visits(browser.open("/")[1]), 2)

    def test_a_session_ends_when_its_time_is_over_and_use_renews_it(self):
        browser = Browser(self.base)
        browser.open("/login", name="Ada")
        token = next(iter(browser.cookies)).value
        store = redis.Redis.from_url(f"redis://{self.at}")
        keys = [f"session:{token}", f"visits:{token}"]
        for key in keys:
            store.expire(key, 5)
        browser.open("/")
        for key in keys:
            self.assertGreater(store.ttl(key), 30, key)
            store.pexpire(key, 1)
        time.sleep(0.01)
        self.assertIn("Your name", browser.open("/")[1])

    def test_names_are_text_not_html(self):
        page = Browser(self.base).open("/login", name="<script>alert(1)</script>")[1]
        self.assertIn("&lt;script&gt;", page)
        self.assertNotIn("<script>", page)

    def test_bad_requests_have_answers(self):
        browser = Browser(self.base)
        self.assertEqual(browser.open("/login", name=" ")[0], 400)
        self.assertEqual(browser.open("/nowhere")[0], 404)
        self.assertEqual(browser.open("/login", name="x" * 5_000)[0], 413)
        forged = urllib.request.Request(self.base + "/", headers={"Cookie": "session=nobody"})
        self.assertIn("Your name", browser.fetch(forged)[1])


class Trouble(WithService):
    """What the visitor sees when the store is gone or full."""

    def setUp(self):
        if not binary:
            self.skipTest("the store is not this test's to stop")

    def test_the_store_goes_and_comes_back(self):
        port = free_port()
        store = start_pannier(port)
        browser = Browser(self.service(f"127.0.0.1:{port}"))
        browser.open("/login", name="Ada")
        stop_pannier(store)
        status, page = browser.open("/")
        self.assertEqual((status, "try again in a moment" in page), (503, True))
        self.assertNotIn("Traceback", page)
        self.assertEqual(browser.open("/healthz")[0], 200)
        store = start_pannier(port)
        self.addCleanup(stop_pannier, store)
        self.assertIn("Your name", browser.open("/")[1])
        self.assertIn("Hello, Ada", browser.open("/login", name="Ada")[1])

    def test_a_full_store_keeps_the_sessions_it_has(self):
        port = free_port()
        store = start_pannier(port, "--memory", "24MiB")
        self.addCleanup(stop_pannier, store)
        browser = Browser(self.service(f"127.0.0.1:{port}"))
        browser.open("/login", name="Ada")
        client, size = redis.Redis(port=port), 65_536
        for index in range(10_000):
            try:
                client.set(f"filler:{index}", bytes(size))
            except redis.exceptions.OutOfMemoryError:
                if size == 16:
                    break
                size //= 16
        status, page = Browser(browser.base).open("/login", name="Bob")
        self.assertEqual((status, "no room" in page), (503, True))
        self.assertIn("Hello, Ada", browser.open("/")[1])


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--at":
        address = sys.argv[2]
    elif len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        binary = sys.argv[1]
    else:
        sys.exit(__doc__)
    unittest.main(argv=sys.argv[:1])
