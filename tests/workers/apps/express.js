'use strict';
// An Express app as they are written: the port from the environment, nothing of Lintel.

const express = require('express');

const app = express();
app.set('trust proxy', true);
app.get('/', (request, response) => {
  response.set('x-worker', `${process.env.NODE_APP_INSTANCE} ${process.pid}`);
  response.json({ pid: process.pid, ip: request.ip, host: request.hostname });
});
app.listen(process.env.PORT || 3000);
