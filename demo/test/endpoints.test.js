import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';

import { eventually, startServer } from './server.js';

describe('a demo server', () => {
  let server;
  before(async () => {
    server = await startServer(null, { DEMO_INDEX: '7', CPU_THREADS: '1', CPU_QUEUE: '1' });
  });
  after(() => server.stop());

  test('says who it is and what it saw', async () => {
    const who = await server.json('/whoami?a=b', { headers: { 'x-request-id': 'abc', 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.9' } });
    assert.equal(who.index, 7);
    assert.equal(who.pid, server.child.pid);
    assert.equal(who.port, server.port);
    assert.equal(who.url, '/whoami?a=b');
    assert.equal(who.requestId, 'abc');
    assert.equal(who.protocol, 'https');
    assert.equal(who.client, '203.0.113.9');
    assert.equal(who.headers['x-forwarded-for'], '203.0.113.9');
  });

  test('takes its index from NODE_APP_INSTANCE before DEMO_INDEX', async (t) => {
    const other = await startServer(t, { NODE_APP_INSTANCE: '4', DEMO_INDEX: '9' });
    assert.equal((await other.json('/whoami')).index, 4);
  });

  test('refuses a setting that is no number', async (t) => {
    await assert.rejects(startServer(t, { PORT: 'eighty' }), /PORT must be a whole number/);
  });

  test('is healthy', async () => {
    const answer = await server.get('/healthz');
    assert.equal(answer.status, 200);
    assert.equal((await answer.json()).status, 'ok');
  });

  test('serves the page and the Socket.IO client', async () => {
    const page = await server.get('/');
    assert.match(page.headers.get('content-type'), /text\/html/);
    assert.match(await page.text(), /<title>Lintel demo<\/title>/);
    assert.match(await (await server.get('/socket.io/socket.io.js')).text(), /socket\.io/i);
  });

  test('waits without blocking, blocks when asked, and computes in a thread', async () => {
    assert.deepEqual(await server.json('/slow?ms=5'), { index: 7, slept: 5 });
    assert.deepEqual(await server.json('/block?ms=5'), { index: 7, blocked: 5 });
    const computed = await server.json('/cpu?ms=5');
    assert.equal(computed.computed, 5);
    assert.ok(computed.rounds > 0 && computed.threadId > 0);
  });

  test('stops waiting for a client that left', async () => {
    const answer = await server.get('/slow?ms=60000', { signal: AbortSignal.timeout(100) }).catch((error) => error);
    assert.equal(answer.name, 'TimeoutError');
    const metrics = () => server.get('/metrics').then((one) => one.text());
    await eventually('the end of an abandoned /slow', async () => /demo_requests_in_flight 1\n/.test(await metrics()));
  });

  test('answers other requests while it computes', async () => {
    const computing = server.get('/cpu?ms=1500');
    const first = await Promise.race([computing.then(() => 'cpu'), server.get('/healthz').then(() => 'healthz')]);
    assert.equal(first, 'healthz');
    assert.equal((await computing).status, 200);
  });

  test('says 503 with Retry-After when its threads and their queue are full', async () => {
    // One thread, one place in the queue: two are served.
    const answers = await Promise.all(Array.from({ length: 12 }, () => server.get('/cpu?ms=1000')));
    const refused = answers.filter(({ status }) => status === 503);
    assert.ok(refused.length >= 8, `${refused.length} refused`);
    assert.ok(refused.length <= 10, `${refused.length} refused`);
    for (const answer of refused) assert.equal(answer.headers.get('retry-after'), '1');
  });

  test('stops computing for a client that left, and goes on for the next', async () => {
    const impatient = new AbortController();
    const left = server.get('/cpu?ms=5000', { signal: impatient.signal }).catch((error) => error.name);
    const metric = async () => /^demo_requests_in_flight 2$/m.test(await (await server.get('/metrics')).text());
    await eventually('a task in flight', metric);
    const next = server.get('/cpu?ms=5');
    impatient.abort();
    assert.equal(await left, 'AbortError');
    assert.equal((await next).status, 200);
  });

  test('tells a bad query and an unknown path from its own faults', async () => {
    assert.equal((await server.get('/slow?ms=soon')).status, 400);
    assert.equal((await server.get('/bytes?n=-1')).status, 400);
    assert.equal((await server.get('/nowhere')).status, 404);
  });

  test('makes any number of bytes, with a length or in chunks', async () => {
    const counted = await server.get('/bytes?n=200000');
    assert.equal(counted.headers.get('content-length'), '200000');
    const bytes = new Uint8Array(await counted.arrayBuffer());
    assert.equal(bytes.length, 200_000);
    assert.ok(bytes.every((byte, i) => byte === i % 251));
    const chunked = await server.get('/bytes?n=70000&chunked');
    assert.equal(chunked.headers.get('content-length'), null);
    assert.equal((await chunked.arrayBuffer()).byteLength, 70_000);
    assert.equal((await (await server.get('/bytes?n=0')).arrayBuffer()).byteLength, 0);
  });

  test('counts and hashes what it is sent', async () => {
    const body = randomBytes(300_000);
    const sha256 = createHash('sha256').update(body).digest('hex');
    assert.deepEqual(await server.json('/sink', { method: 'POST', body }), { bytes: 300_000 });
    assert.deepEqual(await server.json('/sink?sha256', { method: 'POST', body }), { bytes: 300_000, sha256 });
  });

  test('sends a body back as it arrives, with count and digest as trailers', async () => {
    const request = http.request(`${server.url}/echo?sha256`, { method: 'POST', headers: { 'content-type': 'text/x-test' } });
    request.write('first');
    const response = await new Promise((resolve) => request.once('response', resolve));
    assert.equal(response.headers['content-type'], 'text/x-test');
    const pieces = response[Symbol.asyncIterator]();
    assert.equal(String((await pieces.next()).value), 'first'); // while the request is still being sent
    request.end('second');
    assert.equal(String((await pieces.next()).value), 'second');
    assert.equal((await pieces.next()).done, true);
    assert.equal(response.trailers['x-echo-bytes'], '11');
    assert.equal(response.trailers['x-echo-sha256'], createHash('sha256').update('firstsecond').digest('hex'));
  });

  test('survives a client that leaves in the middle of a body', async () => {
    const request = http.request(`${server.url}/echo`, { method: 'POST' });
    request.on('error', () => {});
    request.write('some');
    await new Promise((resolve) => request.once('response', resolve));
    request.destroy();
    assert.equal((await server.get('/healthz')).status, 200);
  });

  test('counts the visits of a session and forgets them when asked', async () => {
    const first = await server.get('/session');
    const cookie = first.headers.get('set-cookie').split(';')[0];
    assert.deepEqual(await first.json(), { index: 7, visits: 1, startedBy: 7, store: 'memory' });
    assert.equal((await server.json('/session', { headers: { cookie } })).visits, 2);
    assert.equal((await server.get('/session', { method: 'DELETE', headers: { cookie } })).status, 204);
    assert.equal((await server.json('/session', { headers: { cookie } })).visits, 1);
  });

  test('marks the session cookie secure behind https', async () => {
    const answer = await server.get('/session', { headers: { 'x-forwarded-proto': 'https' } });
    assert.match(answer.headers.get('set-cookie'), /; Secure/);
    assert.match(answer.headers.get('set-cookie'), /; HttpOnly/);
  });

  test('streams events', async () => {
    const answer = await server.get('/sse?interval=10&count=3');
    assert.equal(answer.headers.get('content-type'), 'text/event-stream');
    const text = await answer.text();
    assert.match(text, /^retry: 1000\nevent: hello\nid: 0\ndata: {"index":7,/);
    assert.equal(text.match(/^event: tick$/gm).length, 3);
  });

  test('shows metrics in the format of Prometheus', async () => {
    const text = await (await server.get('/metrics')).text();
    assert.match(text, /^demo_requests_total \d+$/m);
    assert.match(text, /^demo_up{index="7"} 1$/m);
  });
});
