// Worker threads; one of them has a server of its own.
const http = require('node:http');
const { Worker } = require('node:worker_threads');

const source = `
  const { parentPort } = require('node:worker_threads');
  const server = require('node:http').createServer((request, response) => response.end('thread'));
  server.listen(0, '127.0.0.1', () => parentPort.postMessage([server.address().port, server.keepAliveTimeout, typeof process.send]));
`;
new Worker(source, { eval: true }).once('message', (message) => {
  http.createServer((request, response) => response.end('main')).listen(3000, () => console.log(`thread ${JSON.stringify(message)}`));
});
