'use strict';
// Work in threads: a sum for each request.

const http = require('node:http');
const path = require('node:path');
const { Piscina } = require('piscina');
const { tell, worker } = require('./tell');

const pool = new Piscina({ filename: path.join(__dirname, 'sum.js'), minThreads: 1, maxThreads: 2 });
http.createServer(async (request, response) => {
  const sum = await pool.run(100_000);
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify({ ...tell(request.headers, request.socket.remoteAddress), sum }));
}).listen(3000);
