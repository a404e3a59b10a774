// Adds a failing 'message' listener that knows nothing of a shutdown, and goes on for ever.
const http = require('node:http');

process.on('message', (message) => message.must.not.arrive);
http.createServer((request, response) => response.end('ok')).listen(3000);
