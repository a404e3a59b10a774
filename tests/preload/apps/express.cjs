// Express, with a proxy it trusts.
const { createRequire } = require('node:module');
const path = require('node:path');

const express = createRequire(path.join(__dirname, '../../../demo/package.json'))('express');
const app = express();
app.set('trust proxy', 'loopback');
app.get('/', (request, response) => response.json({ ip: request.ip, protocol: request.protocol, secure: request.secure }));
app.listen(3000);
