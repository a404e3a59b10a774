'use strict';

const express = require('express');
const { moment, tell, worker } = require('./tell');

const app = express();
app.set('trust proxy', 'loopback');
app.get('/', async (request, response) => {
  await moment();
  response.set('x-worker', worker).json(tell(request.headers, request.socket.remoteAddress, request.ip));
});
app.listen(3000, () => console.log('listening'));
