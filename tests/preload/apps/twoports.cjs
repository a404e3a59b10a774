// A second hard-coded port, as for metrics.
const http = require('node:http');

http.createServer((request, response) => response.end('main')).listen(3000);
const metrics = http.createServer((request, response) => response.end('metrics'));
metrics.listen(9464, () => console.log(`metrics ${JSON.stringify(metrics.address())}`));
