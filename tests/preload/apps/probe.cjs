// Looks whether its port is free before it opens it, as programs with portfinder do.
const http = require('node:http');
const net = require('node:net');

const probe = net.createServer();
probe.listen(3000, () => probe.close(() => {
  http.createServer((request, response) => response.end('after the probe')).listen(3000, () => console.log('open {}'));
}));
