// express-rate-limit with rate-limit-redis over node-redis: up to the limit, 429, after the window: node rate_limit_redis.mjs PORT
import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import express from "express";
import { rateLimit } from "express-rate-limit";
import { RedisStore } from "rate-limit-redis";
import { createClient } from "redis";

const client = createClient({ url: `redis://127.0.0.1:${process.argv[2]}` });
client.on("error", (error) => { console.error(error); process.exit(1); });
await client.connect();
await client.flushDb();

const store = new RedisStore({ sendCommand: (...args) => client.sendCommand(args) });
const app = express();
app.use(rateLimit({
  windowMs: 2000, limit: 3, standardHeaders: "draft-8", legacyHeaders: true, store,
  keyGenerator: (request) => request.query.user,
}));
app.get("/", (request, response) => response.send("ok"));
const web = app.listen(0, "127.0.0.1");
await once(web, "listening");
const ask = (user) => fetch(`http://127.0.0.1:${web.address().port}/?user=${user}`);

const answers = [];
for (let i = 0; i < 5; i++) answers.push(await ask("ada"));
assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 429, 429]);
assert.deepEqual(answers.map(({ headers }) => headers.get("x-ratelimit-remaining")), ["2", "1", "0", "0", "0"]);
assert.equal((await ask("bob")).status, 200);
assert.equal((await store.get("ada")).totalHits, 5);
await sleep(2100);
assert.equal((await ask("ada")).status, 200);
await store.resetKey("ada");
assert.deepEqual(await client.keys("rl:ada"), []);
await store.increment("carl");
assert.equal((await store.increment("carl")).totalHits, 2);
await store.decrement("carl");
assert.equal((await store.get("carl")).totalHits, 1);

// The scripts are gone, as after a restart: the store sends them again.
await client.sendCommand(["SCRIPT", "FLUSH"]);
assert.equal((await ask("dora")).status, 200);
assert.equal((await store.get("dora")).totalHits, 1);
web.close();
web.closeAllConnections();
await client.flushDb();
await client.close();
