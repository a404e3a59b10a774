// Bodies of any size, streamed with back-pressure and never held whole:
//   POST /echo   sends the body back as it arrives
//   POST /sink   counts it
//   GET  /bytes  makes n bytes
// ?sha256 adds a digest: to /echo as a trailer, to /sink in the answer.

import { createHash } from 'node:crypto';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { Router } from 'express';

import { flag, wholeNumber } from './query.js';

const GIB = 1024 ** 3;
// Byte i of /bytes is i modulo 251: a prime, so that a lost or repeated piece of any usual size shows.
const PERIOD = 251;
const PIECE = Buffer.from(Uint8Array.from({ length: PERIOD * 261 }, (_, i) => i % PERIOD)); // 65,511 bytes

export function bodyRoutes() {
  const router = Router();

  router.all('/echo', async (req, res) => {
    const tally = new Tally(flag(req, 'sha256'));
    res.setHeader('content-type', req.get('content-type') ?? 'application/octet-stream');
    res.setHeader('trailer', 'x-echo-bytes, x-echo-sha256');
    const count = new Transform({
      transform(piece, encoding, done) {
        tally.add(piece);
        done(null, piece);
      },
      flush(done) {
        res.addTrailers(tally.trailers());
        done();
      },
    });
    await untilClientLeaves(pipeline(req, count, res));
  });

  router.all('/sink', async (req, res) => {
    const tally = new Tally(flag(req, 'sha256'));
    const complete = await untilClientLeaves((async () => {
      for await (const piece of req) tally.add(piece);
      return true;
    })());
    if (complete) res.json(tally.summary());
  });

  router.get('/bytes', async (req, res) => {
    const size = wholeNumber(req, 'n', { fallback: 1024, most: 64 * GIB });
    res.setHeader('content-type', 'application/octet-stream');
    res.setHeader('cache-control', 'no-store');
    if (!flag(req, 'chunked')) res.setHeader('content-length', size);
    if (req.method === 'HEAD') return res.end();
    await untilClientLeaves(pipeline(Readable.from(pieces(size)), res));
  });
  return router;
}

function* pieces(size) {
  for (let left = size; left > 0; left -= PIECE.length) yield left >= PIECE.length ? PIECE : PIECE.subarray(0, left);
}

class Tally {
  bytes = 0;
  #hash;

  constructor(withDigest) {
    this.#hash = withDigest ? createHash('sha256') : null;
  }

  add(piece) {
    this.bytes += piece.length;
    this.#hash?.update(piece);
  }

  summary() {
    return this.#hash ? { bytes: this.bytes, sha256: this.#hash.digest('hex') } : { bytes: this.bytes };
  }

  trailers() {
    const { bytes, sha256 } = this.summary();
    return { 'x-echo-bytes': String(bytes), ...(sha256 && { 'x-echo-sha256': sha256 }) };
  }
}

// A client may hang up in the middle of a body; that is its right and no error of ours.
async function untilClientLeaves(work) {
  try {
    return await work;
  } catch (error) {
    if (['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR', 'EPIPE'].includes(error.code)) return undefined;
    throw error;
  }
}
