'use strict';
// Without a host it opens ::1 and 127.0.0.1, as its documentation has it.

const fastify = require('fastify')({ trustProxy: 'loopback' });
const { moment, tell, worker } = require('./tell');

fastify.get('/', async (request, reply) => {
  await moment();
  reply.header('x-worker', worker);
  return tell(request.headers, request.socket.remoteAddress, request.ip);
});
fastify.listen({ port: 3000, host: process.argv[2] }).then((address) => console.log(address));
