// A tool: starts, sends to a parent if it has one, ends when it is told to.
process.send?.({ hello: 'parent' });
console.log(`up ${JSON.stringify(['SIGTERM', 'SIGINT', 'exit'].map((event) => process.listenerCount(event)))}`);
process.stdin.resume().once('data', () => process.stdin.destroy());
