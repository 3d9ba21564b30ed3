// ioredis as subscriber, and the broadcast of socket.io's adapter over it: node ioredis_pubsub.mjs PORT
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';

const port = Number(process.argv[2]);
const publisher = new Redis({ port });
const subscriber = new Redis({ port });
const got = [];
subscriber.on('message', (channel, message) => got.push([channel, message]));
subscriber.on('pmessage', (pattern, channel, message) => got.push([pattern, channel, message]));
assert.equal(await subscriber.subscribe('a', 'b'), 2);
assert.equal(await subscriber.psubscribe('a*'), 3);
assert.equal(await publisher.publish('a', 'one'), 2);
while (got.length < 2) await new Promise(done => setTimeout(done, 5));
assert.deepEqual(got, [['a', 'one'], ['a*', 'a', 'one']]);
assert.equal(await subscriber.unsubscribe('a', 'b'), 1);
assert.equal(await subscriber.punsubscribe('a*'), 0);
assert.equal(await subscriber.get('none'), null);
publisher.disconnect();
subscriber.disconnect();

// Two nodes of a chat: what one broadcasts reaches the clients of both.
const node = async () => {
  const pub = new Redis({ port });
  const sub = pub.duplicate();
  const http = createServer();
  const server = new Server(http, { adapter: createAdapter(pub, sub) });
  await new Promise(done => http.listen(0, '127.0.0.1', done));
  const client = io(`http://127.0.0.1:${http.address().port}`, { transports: ['websocket'] });
  await new Promise(done => client.on('connect', done));
  return { server, client, close: () => { client.close(); server.close(); pub.disconnect(); sub.disconnect(); } };
};
const [one, two] = [await node(), await node()];
const heard = Promise.all([one, two].map(({ client }) => new Promise(done => client.on('news', done))));
// Adapters find each other through the server: try until both are there.
for (let i = 0; i < 200 && (await one.server.fetchSockets()).length < 2; i++) {
  await new Promise(done => setTimeout(done, 20));
}
one.server.emit('news', 'from one');
assert.deepEqual(await heard, ['from one', 'from one']);
one.close();
two.close();
console.log('ok');
process.exit(0);
