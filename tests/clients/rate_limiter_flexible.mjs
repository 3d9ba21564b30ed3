// rate-limiter-flexible over ioredis and node-redis: consume, be refused, block, reward, expire: node rate_limiter_flexible.mjs PORT
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import { createClient } from "redis";

async function limit(storeClient, keyPrefix, options = {}) {
  const limiter = new RateLimiterRedis({ storeClient, keyPrefix, points: 5, duration: 2, ...options });
  const refused = (action) => action.then(
    () => assert.fail("was let through"),
    (error) => { if (!(error instanceof RateLimiterRes)) throw error; return error; });

  assert.equal((await limiter.consume("ada")).remainingPoints, 4);
  assert.equal((await limiter.consume("ada", 3)).remainingPoints, 1);
  assert.equal((await limiter.penalty("ada", 1)).consumedPoints, 5);
  const no = await refused(limiter.consume("ada"));
  assert.ok(no.remainingPoints === 0 && no.msBeforeNext > 0 && no.msBeforeNext <= 2000);
  assert.equal((await limiter.reward("ada", 3)).consumedPoints, 3);
  assert.equal((await limiter.get("ada")).consumedPoints, 3);
  assert.equal((await limiter.consume("bob")).remainingPoints, 4);
  await sleep(2100);
  assert.equal((await limiter.consume("ada")).remainingPoints, 4);

  await limiter.block("carl", 60);
  assert.ok((await refused(limiter.consume("carl"))).msBeforeNext > 50_000);
  assert.equal(await limiter.delete("carl"), true);
  assert.equal(await limiter.get("carl"), null);

  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => limiter.consume("many")));
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 5);
}

const port = Number(process.argv[2]);
const ioredis = new Redis(port, "127.0.0.1");
ioredis.on("error", (error) => { console.error(error); process.exit(1); });
await ioredis.flushdb();
const nodeRedis = createClient({ url: `redis://127.0.0.1:${port}` });
nodeRedis.on("error", (error) => { console.error(error); process.exit(1); });
await nodeRedis.connect();
await Promise.all([
  limit(ioredis, "one"),
  limit(nodeRedis, "two", { useRedisPackage: true }),
  limit(ioredis, "three", { inMemoryBlockOnConsumed: 6 }),
]);
await ioredis.flushdb();
await ioredis.quit();
await nodeRedis.close();
