// node-redis: pub/sub, and its client-side cache: node node_redis_pubsub.mjs PORT
import assert from 'node:assert/strict';
import { BasicClientSideCache, createClient } from 'redis';

const url = `redis://127.0.0.1:${process.argv[2]}`;
const eventually = async (what, condition) => {
  for (let i = 0; i < 2000; i++) {
    if (await condition()) return;
    await new Promise(done => setTimeout(done, 10));
  }
  throw new Error(`in vain: ${what}`);
};

for (const RESP of [2, 3]) {
  const publisher = await createClient({ url, RESP }).connect();
  const subscriber = await publisher.duplicate().connect();
  const got = [];
  await subscriber.subscribe('news', (message, channel) => got.push([channel, message]));
  await subscriber.pSubscribe('n*', (message, channel) => got.push([`p:${channel}`, message]));
  await subscriber.sSubscribe('shard', (message, channel) => got.push([`s:${channel}`, message]));
  assert.equal(await publisher.publish('news', 'one'), 2);
  assert.equal(await publisher.sPublish('shard', 'two'), 1);
  await eventually('three messages', () => got.length === 3);
  assert.deepEqual(got, [['news', 'one'], ['p:news', 'one'], ['s:shard', 'two']]);
  assert.equal(await subscriber.ping('x'), 'x');
  await subscriber.unsubscribe('news');
  await subscriber.pUnsubscribe('n*');
  await subscriber.sUnsubscribe('shard');
  assert.equal(await publisher.publish('news', 'nobody'), 0);
  subscriber.destroy();
  publisher.destroy();
}

const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 100 });
const cached = await createClient({ url, RESP: 3, clientSideCache: cache }).connect();
const other = await createClient({ url }).connect();
await other.set('cached', '1');
assert.equal(await cached.get('cached'), '1');
assert.equal(await cached.get('cached'), '1');
assert.ok(cache.stats().hitCount >= 1, 'the second read is from the cache');
await other.set('cached', '2');
await eventually('the new value', async () => (await cached.get('cached')) === '2');
await other.flushAll();
await eventually('no value after a flush', async () => (await cached.get('cached')) === null);
cached.destroy();
other.destroy();
console.log('ok');
