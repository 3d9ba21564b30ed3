// @fastify/rate-limit over ioredis: up to the limit, 429, after the window: node fastify_rate_limit.mjs PORT
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import rateLimit from "@fastify/rate-limit";
import Fastify from "fastify";
import { Redis } from "ioredis";

const redis = new Redis(Number(process.argv[2]), "127.0.0.1");
redis.on("error", (error) => { console.error(error); process.exit(1); });
await redis.flushdb();

// An error of the store answers 500 here: with skipOnError a server without scripts would let all through.
const app = Fastify();
await app.register(rateLimit, {
  max: 3, timeWindow: 2000, redis, skipOnError: false,
  keyGenerator: (request) => request.headers["x-user"],
});
app.get("/", async () => "ok");
app.get("/growing", { config: { rateLimit: { max: 1, timeWindow: 1000, exponentialBackoff: true } } }, async () => "ok");
const ask = (user, url = "/") => app.inject({ url, headers: { "x-user": user } });

const answers = [];
for (let i = 0; i < 5; i++) answers.push(await ask("ada"));
assert.deepEqual(answers.map(({ statusCode }) => statusCode), [200, 200, 200, 429, 429]);
assert.deepEqual(answers.map(({ headers }) => Number(headers["x-ratelimit-remaining"])), [2, 1, 0, 0, 0]);
assert.ok(Number(answers[4].headers["retry-after"]) <= 2);
assert.equal((await ask("bob")).statusCode, 200);
assert.deepEqual([(await ask("ada", "/growing")).statusCode, (await ask("ada", "/growing")).statusCode], [200, 429]);
await sleep(2100);
assert.equal((await ask("ada")).statusCode, 200);
await app.close();
await redis.flushdb();
await redis.quit();
