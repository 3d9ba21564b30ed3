// connect-redis under express-session, with real HTTP requests on loopback: node connect_redis.mjs PORT
import assert from "node:assert/strict";
import { once } from "node:events";
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

const client = createClient({ url: `redis://127.0.0.1:${process.argv[2]}` });
client.on("error", (error) => { console.error(error); process.exit(1); });
await client.connect();
await client.flushDb();

const store = new RedisStore({ client });
const app = express();
app.use(session({ store, secret: "test", resave: false, saveUninitialized: false }));
app.get("/count", (request, response) => {
  request.session.visits = (request.session.visits ?? 0) + 1;
  response.send(String(request.session.visits));
});
app.get("/leave", (request, response) => request.session.destroy(() => response.send("left")));
const web = app.listen(0, "127.0.0.1");
await once(web, "listening");

function browser() {
  let cookie;
  return async (page) => {
    const response = await fetch(`http://127.0.0.1:${web.address().port}/${page}`, { headers: cookie ? { cookie } : {} });
    cookie = response.headers.get("set-cookie")?.split(";")[0] ?? cookie;
    return response.text();
  };
}

const one = browser();
const two = browser();
assert.deepEqual([await one("count"), await one("count"), await one("count")], ["1", "2", "3"]);
assert.equal(await two("count"), "1");
const [key] = await client.keys("sess:*");
assert.ok(await client.ttl(key) > 1000);
assert.equal((await store.ids()).length, 2);
assert.equal((await store.all()).length, 2);
assert.equal(await store.length(), 2);
await one("leave");
assert.equal(await one("count"), "1");
assert.equal(await two("count"), "2");
await store.clear();
assert.equal(await store.length(), 0);
web.close();
web.closeAllConnections();
await client.flushDb();
await client.close();
