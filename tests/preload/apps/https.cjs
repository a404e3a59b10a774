// TLS with a shared key, so that no certificate is needed.
const https = require('node:https');

const psk = Buffer.from('0123456789abcdef');
const server = https.createServer({ pskCallback: () => psk, ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' });
server.on('request', (request, response) => response.end(JSON.stringify([request.socket.remoteAddress, server.address().port])));
server.listen(3443);
