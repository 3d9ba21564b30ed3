"""Django's own Redis cache and its cached sessions, through real requests of its test client: python django_cache.py PORT"""
import sys
import time

import django
from django.conf import settings

BACKEND = "django.core.cache.backends.redis.RedisCache"

settings.configure(
    CACHES={"default": {"BACKEND": BACKEND, "LOCATION": f"redis://127.0.0.1:{sys.argv[1]}"}},
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    INSTALLED_APPS=["django.contrib.sessions"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="test",
    ALLOWED_HOSTS=["*"],
)
django.setup()

from django.core.cache import cache  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402


def count(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def leave(request):
    request.session.flush()
    return HttpResponse("left")


urlpatterns = [path("count", count), path("leave", leave)]

cache.clear()
cache.set("k", {"a": [1, 2, 3]}, 60)
assert cache.get("k") == {"a": [1, 2, 3]} and cache.get("none", "default") == "default"
assert cache.add("k", 1) is False and cache.add("new", 1) is True
assert cache.touch("k", 100) is True and cache.touch("none") is False
assert cache.get_or_set("made", lambda: 7) == 7 and "made" in cache
cache.set("n", 5)
assert cache.incr("n") == 6 and cache.decr("n", 2) == 4
try:
    cache.incr("none")
except ValueError:
    pass
else:
    raise AssertionError("incr of no key")
assert cache.set_many({"x": 1, "y": b"2"}, timeout=60) == []
assert cache.get_many(["x", "y", "z"]) == {"x": 1, "y": b"2"}
cache.delete_many(["x", "y"])
assert cache.get("x") is None and cache.delete("n") is True and cache.delete("n") is False
cache.set("forever", 1, None)
cache.set("at once", 1, 0)
assert cache.get("forever") == 1 and cache.get("at once") is None
cache.set("short", 1, 1)
time.sleep(1.1)
assert cache.get("short") is None
cache.set("v", 1, version=1)
assert cache.get("v", version=2) is None and cache.incr_version("v") == 2 and cache.get("v", version=2) == 1
cache.set("big", "x" * 3_000_000)
assert len(cache.get("big")) == 3_000_000

one, two = Client(), Client()
assert [one.get("/count").content for _ in range(3)] == [b"1", b"2", b"3"]
assert two.get("/count").content == b"1"
one.get("/leave")
assert one.get("/count").content == b"1" and two.get("/count").content == b"2"
cache.clear()
