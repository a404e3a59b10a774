'use strict';
// A consumer of a queue: serves nobody but has a port for its metrics. Files beside it are its orders: hold (it is not ready
// while that is there), broken (it cannot start), block and grow (whoever sees it takes it away and does so).

const fs = require('node:fs');
const http = require('node:http');

if (fs.existsSync('broken')) throw new Error('the queue does not know this password');

const kept = [];
const takes = (order) => {
  if (!fs.existsSync(order)) return false;
  fs.unlinkSync(order);
  return true;
};

const metrics = http.createServer((request, response) => response.end(`consumer ${process.pid}`));
// A port that is free, to be asked for by its number.
const scout = http.createServer().listen(0, '127.0.0.1', () => {
  const { port } = scout.address();
  scout.close(() => metrics.listen(port, '127.0.0.1', () => console.log(`metrics of ${process.pid} at ${port}`)));
});

let saidReady = false;
setInterval(() => {
  if (!saidReady && !fs.existsSync('hold')) {
    saidReady = true;
    process.send('ready');
  }
  if (takes('grow')) kept.push(Buffer.alloc(300 << 20, 1));
  if (takes('block')) for (;;);
}, 20);
