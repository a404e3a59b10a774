'use strict';
// Socket.IO beside Express.

const http = require('node:http');
const express = require('express');
const { Server } = require('socket.io');
const { moment, tell, worker } = require('./tell');

const app = express();
app.set('trust proxy', 'loopback');
app.get('/', async (request, response) => {
  await moment();
  response.set('x-worker', worker).json(tell(request.headers, request.socket.remoteAddress, request.ip));
});
const server = http.createServer(app);
new Server(server).on('connection', (socket) => {
  socket.emit('welcome', { pid: process.pid, address: socket.handshake.address });
  socket.on('who', (answer) => answer(process.pid));
});
server.listen(3000);
