'use strict';
// The work of piscina.js.

module.exports = (count) => {
  let sum = 0;
  for (let number = 1; number <= count; number += 1) sum += number;
  return sum;
};
