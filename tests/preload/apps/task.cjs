// A task: serves nobody, but has a port of its own for its metrics, and starts children.
const { fork } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');

async function main() {
  console.log(`up ${JSON.stringify(['SIGTERM', 'SIGINT', 'exit'].map((event) => process.listenerCount(event)))}`);
  // A port that is free, to be asked for by its number.
  const scout = http.createServer().listen(0, '127.0.0.1');
  await once(scout, 'listening');
  const { port } = scout.address();
  scout.close();
  await once(scout, 'close');
  const metrics = http.createServer((request, response) => response.end('metrics')).listen(port, '127.0.0.1');
  await once(metrics, 'listening');
  console.log(`metrics ${JSON.stringify({ port, address: metrics.address(), keepAlive: metrics.keepAliveTimeout })}`);
  const child = process.env.CHILD ? null : fork(__filename, { env: { ...process.env, CHILD: '1' }, stdio: 'ignore' });
  process.stdin.on('data', (words) => {
    for (const word of String(words).trim().split('\n')) {
      if (word === 'ready') process.send('ready');
      if (word === 'burn') for (const end = Date.now() + 600; Date.now() < end;);
      if (word === 'end') [metrics, process.stdin].forEach((held) => held.close?.() ?? held.destroy());
      if (word === 'end') child?.kill('SIGKILL');
    }
  });
}
main();
