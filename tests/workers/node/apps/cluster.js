'use strict';
// Two processes of its own, and new ones for those that end.

const cluster = require('node:cluster');

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  cluster.on('exit', () => cluster.fork());
} else {
  require('./http');
}
