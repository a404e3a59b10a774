'use strict';
// Nest on Express, as its compiler leaves it: what were decorators in TypeScript are calls.

require('reflect-metadata');
const { Controller, Get, Header, Module, Req } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { moment, tell, worker } = require('./tell');

class Here {
  async get(request) {
    await moment();
    return tell(request.headers, request.socket.remoteAddress, request.ip);
  }
}
const get = Object.getOwnPropertyDescriptor(Here.prototype, 'get');
for (const decorate of [Get(), Header('x-worker', worker)]) decorate(Here.prototype, 'get', get);
Req()(Here.prototype, 'get', 0);
Controller()(Here);

class App {}
Module({ controllers: [Here] })(App);

async function start() {
  const app = await NestFactory.create(App, { logger: ['error', 'warn'] });
  app.set('trust proxy', 'loopback');
  app.enableShutdownHooks();
  await app.listen(3000);
}
start();
