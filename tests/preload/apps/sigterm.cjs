// Ends itself: by a signal (SIGNAL), as its own code wants it.
const http = require('node:http');

const server = http.createServer((request, response) => {
  console.log('holding {}');
  request.resume().on('end', () => response.end('held'));
});
process.on(process.env.SIGNAL ?? 'SIGTERM', (signal) => {
  console.log(`own ${JSON.stringify(signal)}`);
  server.close((error) => process.exit(error ? 9 : 7));
});
server.listen(3000);
