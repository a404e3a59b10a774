'use strict';
// Works by itself and listens nowhere; ends its work when it is told to.

console.log(`works as ${process.pid}`);
const working = setInterval(() => {}, 1000);
process.on('SIGTERM', () => {
  console.log(`goodbye from ${process.pid}`);
  clearInterval(working);
});
