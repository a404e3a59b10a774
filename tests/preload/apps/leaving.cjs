// Closes its server by itself, without a signal.
const http = require('node:http');

const server = http.createServer((request, response) => response.end('ok')).listen(3000);
process.stdin.resume().once('data', () => server.close());
