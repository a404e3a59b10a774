// Listens for SIGTERM only as the package signal-exit does: to look on, not to end.
const http = require('node:http');

process.__signal_exit_emitter__ = { count: 1 };
process.on('SIGTERM', () => console.log('seen {}'));
http.createServer((request, response) => response.end()).listen(3000);
