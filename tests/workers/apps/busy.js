'use strict';
// A server whose event loop is busy for as long as a request says (/busy?20), or not at all while it waits (/wait?300).
// It blocks without computing, so that three of them can be busy on a machine of two cores.

const fs = require('node:fs');
const http = require('node:http');

const index = process.env.NODE_APP_INSTANCE;
if (fs.existsSync(`broken-${index}`)) throw new Error('this one does not start');

const nobody = new Int32Array(new SharedArrayBuffer(4));

http.createServer((request, response) => {
  const [path, value] = request.url.split('?');
  const answer = () => {
    response.setHeader('x-worker', `${index} ${process.pid}`);
    response.end('{}');
  };
  if (path === '/busy') Atomics.wait(nobody, 0, 0, Number(value));
  if (path === '/wait') setTimeout(answer, Number(value));
  else answer();
}).listen(3000);
