// redlock over ioredis: acquire, contend, extend, expire, release: node redlock.mjs PORT
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import Redlock from "redlock";

const client = new Redis(Number(process.argv[2]), "127.0.0.1");
client.on("error", (error) => { console.error(error); process.exit(1); });
await client.flushdb();

const patient = new Redlock([client], { retryCount: 200, retryDelay: 10, retryJitter: 5 });
const impatient = new Redlock([client], { retryCount: 0 });

let lock = await patient.lock("job", 30_000);
await assert.rejects(impatient.lock("job", 1000), { name: "LockError" });
await assert.rejects(impatient.lock(["other", "job"], 1000), { name: "LockError" });
lock = await lock.extend(60_000);
assert.ok(await client.pttl("job") > 50_000);
const waited = patient.lock("job", 30_000);
await sleep(100);
await lock.unlock();
const second = await waited;
await assert.rejects(lock.unlock(), { name: "LockError" });
await assert.rejects(lock.extend(1000), { name: "LockError" });
await second.unlock();

// Several resources are locked by one script, all or none.
const several = await patient.lock(["a", "b", "c"], 30_000);
assert.equal(await client.exists("a", "b", "c"), 3);
await several.unlock();
assert.equal(await client.exists("a", "b", "c"), 0);

const short = await patient.lock("short", 100);
await sleep(300);
const next = await impatient.lock("short", 30_000);
await assert.rejects(short.unlock(), { name: "LockError" });
await next.unlock();

// Ten that add to one number by reading and writing it.
await client.set("n", 0);
await Promise.all(Array.from({ length: 10 }, async () => {
  const held = await patient.lock("n:lock", 30_000);
  const n = Number(await client.get("n"));
  await sleep(2);
  await client.set("n", n + 1);
  await held.unlock();
}));
assert.equal(await client.get("n"), "10");
await client.flushdb();
await client.quit();
