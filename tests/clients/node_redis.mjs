// node-redis in its default settings: node node_redis.mjs PORT
import assert from "node:assert/strict";
import { WatchError, createClient } from "redis";

const url = `redis://127.0.0.1:${process.argv[2]}`;
const client = createClient({ url });
client.on("error", (error) => { console.error(error); process.exit(1); });
await client.connect();
await client.flushAll();

assert.equal(await client.ping(), "PONG");
assert.equal(await client.set("k", "v"), "OK");
assert.equal(await client.get("k"), "v");
assert.equal(await client.get("none"), null);
assert.equal(await client.set("k", "w", { NX: true }), null);
assert.equal(await client.set("t", "1", { EX: 100 }), "OK");
assert.ok(await client.ttl("t") > 90);
assert.equal(await client.incrBy("n", 5), 5);
assert.equal(Number(await client.incrByFloat("f", 0.5)), 0.5);
assert.deepEqual(await client.mGet(["k", "none", "n"]), ["v", null, "5"]);
assert.ok(await client.expire("k", 10));
assert.ok(await client.persist("k"));
assert.equal(await client.del(["k", "none"]), 1);
await assert.rejects(client.sendCommand(["NOSUCH", "l", "1"]), /unknown command/);

// Pipelined by itself: everything sent in one tick.
const many = await Promise.all(Array.from({ length: 2000 }, (_, i) => client.set(`many:${i}`, `${i}`)));
assert.ok(many.every((reply) => reply === "OK"));
const seen = new Set();
for await (const keys of client.scanIterator({ MATCH: "many:*", COUNT: 100 })) for (const key of keys) seen.add(key);
assert.equal(seen.size, 2000);

assert.deepEqual(await client.multi().set("x", "1").incr("x").get("x").exec(), ["OK", 2, "2"]);
const other = client.duplicate();
await other.connect();
await client.watch("x");
await other.set("x", "9");
await assert.rejects(client.multi().set("x", "10").exec(), WatchError);
assert.equal(await other.get("x"), "9");
await other.close();

const big = "y".repeat(2_000_000);
await client.set("big", big);
assert.equal(await client.get("big"), big);
assert.match(await client.info(), /redis_version:7\./);
await client.select(2);
assert.equal(await client.get("x"), null);
await client.flushAll();
await client.close();

const two = createClient({ url, RESP: 2 });
await two.connect();
assert.equal(await two.set("r2", "1"), "OK");
assert.equal(await two.get("r2"), "1");
await two.flushAll();
await two.close();
