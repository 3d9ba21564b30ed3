"""django-redis in its default settings, its lock among them: python django_redis_cache.py PORT"""
import sys
import time

import django
import redis
from django.conf import settings

settings.configure(
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"redis://127.0.0.1:{sys.argv[1]}/1"}},
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    INSTALLED_APPS=["django.contrib.sessions"],
)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore  # noqa: E402
from django.core.cache import cache  # noqa: E402

cache.clear()
cache.set("k", {"a": 1}, timeout=60)
assert cache.get("k") == {"a": 1} and 55 <= cache.ttl("k") <= 60 and cache.pttl("k") > 55_000
assert cache.set("k", 2, nx=True) is False and cache.add("k", 2) is False and cache.get("none") is None
assert cache.persist("k") and cache.ttl("k") is None and cache.expire("k", 10) and cache.touch("k", 20)
assert cache.has_key("k") and "k" in cache
cache.set_many({f"many:{i}": i for i in range(300)})
assert cache.get_many(["many:1", "many:2", "none"]) == {"many:1": 1, "many:2": 2}
assert len(cache.keys("many:*")) == 300 and len(list(cache.iter_keys("many:*"))) == 300
assert cache.delete_pattern("many:*") == 300 and cache.delete("k") and not cache.delete("k")

# incr and decr keep the time to live by a script.
cache.set("n", 5, timeout=60)
assert cache.incr("n") == 6 and cache.decr("n", 2) == 4 and 55 <= cache.ttl("n") <= 60 and cache.get("n") == 4
try:
    cache.incr("none")
except ValueError:
    pass
else:
    raise AssertionError("incr of no key")
with cache.lock("job", timeout=30):
    assert not cache.lock("job", timeout=30).acquire(blocking=False)
lock = cache.lock("job", timeout=0.1)
assert lock.acquire(blocking=False)
time.sleep(0.3)
assert cache.lock("job", timeout=30).acquire(blocking=False)
try:
    lock.release()
except redis.exceptions.LockNotOwnedError:
    pass
else:
    raise AssertionError("an expired lock was released")

# Sets and hashes of django-redis.
assert cache.sadd("s", "a", "b") == 2 and cache.sismember("s", "a") and cache.smembers("s") == {"a", "b"}
assert cache.hset("h", "field", {"x": 1}) == 1 and cache.hexists("h", "field") and cache.hlen("h") == 1
assert cache.hdel("h", "field") == 1 and cache.srem("s", "a") == 1 and cache.scard("s") == 1

session = SessionStore()
session["user"] = "ada"
session.save()
again = SessionStore(session.session_key)
assert again["user"] == "ada"
again.delete()
assert SessionStore(session.session_key).get("user") is None
cache.clear()
