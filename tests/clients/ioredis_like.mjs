// What ioredis and iovalkey have in common; both are used in their default settings (ready only after INFO).
import assert from "node:assert/strict";
import { once } from "node:events";

export async function session(Client, port) {
  const client = new Client(port, "127.0.0.1");
  client.on("error", (error) => { console.error(error); process.exit(1); });
  await once(client, "ready");
  await client.flushall();

  assert.equal(await client.set("k", "v"), "OK");
  assert.equal(await client.get("k"), "v");
  assert.equal(await client.get("none"), null);
  assert.equal(await client.set("t", "1", "EX", 100, "NX"), "OK");
  assert.equal(await client.set("t", "1", "EX", 100, "NX"), null);
  assert.ok(await client.ttl("t") > 90);
  assert.equal(await client.incrby("n", 7), 7);
  assert.deepEqual(await client.mget("k", "none"), ["v", null]);
  assert.equal(await client.mset({ a: 1, b: 2 }), "OK");
  assert.equal(await client.del("a", "b", "none"), 2);
  const bytes = Buffer.from([0, 255, 13, 10]);
  await client.set("bytes", bytes);
  assert.ok((await client.getBuffer("bytes")).equals(bytes));

  const pipeline = client.pipeline();
  for (let i = 0; i < 2000; i++) pipeline.set(`many:${i}`, i);
  assert.ok((await pipeline.exec()).every(([error, reply]) => error === null && reply === "OK"));
  const seen = new Set();
  for await (const keys of client.scanStream({ match: "many:*", count: 100 })) for (const key of keys) seen.add(key);
  assert.equal(seen.size, 2000);

  const replies = await client.multi().set("x", "1").incr("x").get("x").exec();
  assert.deepEqual(replies, [[null, "OK"], [null, 2], [null, "2"]]);
  const other = client.duplicate();
  await client.watch("x");
  await other.set("x", "9");
  assert.equal(await client.multi().set("x", "10").exec(), null);
  assert.equal(await other.get("x"), "9");
  await other.quit();

  const big = "z".repeat(2_000_000);
  await client.set("big", big);
  assert.equal(await client.get("big"), big);
  await assert.rejects(client.set("k"), /wrong number of arguments/);
  await client.select(4);
  assert.equal(await client.get("k"), null);
  await client.flushall();
  assert.equal(await client.quit(), "OK");
}
