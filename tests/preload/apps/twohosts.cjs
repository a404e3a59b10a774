// Two servers on one port, as Fastify does for localhost.
const http = require('node:http');

const first = http.createServer((request, response) => response.end('first'));
const second = http.createServer((request, response) => response.end('second'));
first.listen(3000, 'localhost', () => {
  second.listen({ port: 3000, host: '127.0.0.1' }, () => {
    console.log(`both ${JSON.stringify([first.address(), second.address(), second.listening])}`);
  });
});
process.stdin.resume().once('data', () => second.close(() => {
  console.log(`closed ${JSON.stringify([second.address(), second.listening, first.listening])}`);
}));
