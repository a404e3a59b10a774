'use strict';
// WebSockets alone.

const { WebSocketServer } = require('ws');
const { tell } = require('./tell');

new WebSocketServer({ port: 3000 }).on('connection', (socket, request) => {
  socket.send(JSON.stringify(tell(request.headers, request.socket.remoteAddress)));
  socket.on('message', (message) => socket.send(String(message)));
});
