// An ES module that awaits before it listens.
import { createServer } from 'node:http';
import { moment, tell, worker } from './tell.js';

await moment();
const server = createServer(async (request, response) => {
  await moment();
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify(tell(request.headers, request.socket.remoteAddress)));
});
server.listen({ port: 3000, host: '0.0.0.0' });
