// HTTP/2 without TLS; a stream is answered when its body has ended.
const http2 = require('node:http2');

http2.createServer((request, response) => {
  console.log(`stream ${JSON.stringify({ remote: request.socket.remoteAddress })}`);
  request.resume().on('end', () => response.end('held'));
}).listen(3000);
