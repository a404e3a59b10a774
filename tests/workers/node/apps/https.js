'use strict';
// TLS by the program itself.

const fs = require('node:fs');
const https = require('node:https');
const { moment, tell, worker } = require('./tell');

const [key, cert] = [process.env.KEY_FILE, process.env.CERT_FILE].map((file) => fs.readFileSync(file));
https.createServer({ key, cert }, async (request, response) => {
  await moment();
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify(tell(request.headers, request.socket.remoteAddress)));
}).listen(3443);
