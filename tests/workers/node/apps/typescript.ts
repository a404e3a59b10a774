import { createServer, type IncomingMessage } from 'node:http';
import { moment, tell, worker } from './tell.js';

const port: number = 3000;
createServer(async (request: IncomingMessage, response) => {
  await moment();
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify(tell(request.headers, request.socket.remoteAddress)));
}).listen(port);
