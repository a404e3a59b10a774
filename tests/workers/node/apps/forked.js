'use strict';
// The child of fork.js.

const sum = require('./sum');

process.on('message', ({ id, count }) => process.send({ id, sum: sum(count) }));
process.on('disconnect', () => process.exit(0));
