// Uses the demo as its page does, without a browser: requests, a session, rooms, and chat between servers.
// Prints one line of JSON: which servers answered, what the session counted, where each room was, what was heard in chat.
//
//   node demo-visit.mjs URL CA      with DEMO_FOLDER for node_modules

import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.DEMO_FOLDER, 'package.json'));
const { io } = require('socket.io-client');
const WebSocket = require('ws');

const [url, ca] = [process.argv[2], readFileSync(process.argv[3])];
const MOST_CLIENTS = 12;
const END = setTimeout(() => process.exit(1), 25_000); // the caller waits longer

function get(target, headers = {}) {
  return new Promise((resolve, reject) => {
    https.get(url + target, { ca, headers }, async (answer) => {
      let text = '';
      for await (const piece of answer) text += piece;
      resolve({ headers: answer.headers, json: JSON.parse(text) });
    }).on('error', reject);
  });
}

async function answeredBy(count) {
  const answers = await Promise.all(Array.from({ length: count }, () => get('/whoami')));
  return [...new Set(answers.map(({ json }) => json.index))].sort();
}

// What one browser is told at each visit.
async function visits(count) {
  const jar = {};
  const told = [];
  for (let i = 0; i < count; i += 1) {
    const cookie = Object.entries(jar).map((pair) => pair.join('=')).join('; ');
    const { headers, json } = await get('/session', cookie ? { cookie } : {});
    for (const line of headers['set-cookie'] ?? []) {
      const [name, value] = line.split(';')[0].split('=');
      jar[name] = value;
    }
    told.push(json.visits);
  }
  return told;
}

function serverOf(room) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('https', 'wss')}/ws?room=${room}`, { ca });
    socket.on('error', reject);
    socket.once('message', (message) => {
      resolve(JSON.parse(message).hello.index);
      socket.close();
    });
  });
}

async function rooms(count, people) {
  const found = {};
  for (let room = 0; room < count; room += 1) {
    const servers = await Promise.all(Array.from({ length: people }, () => serverOf(room)));
    found[room] = [...new Set(servers)];
  }
  return found;
}

function join() {
  return new Promise((resolve, reject) => {
    const socket = io(url, { ca, forceNew: true });
    socket.once('connect_error', reject);
    socket.once('welcome', ({ index, history }) => resolve({ socket, index, history: history.map(({ text }) => text) }));
  });
}

// Clients until each server has one; then each says something, and all are to hear all of it.
async function chat(servers) {
  const people = [];
  while (new Set(people.map(({ index }) => index)).size < servers && people.length < MOST_CLIENTS) people.push(await join());
  const expected = people.map((_, i) => `${people[i].index} says ${i}`);
  const heard = people.map(({ socket }) => new Promise((resolve) => {
    const texts = [];
    socket.on('message', ({ text }) => {
      if (expected.includes(text)) texts.push(text);
      if (texts.length === expected.length) resolve();
    });
  }));
  people.forEach(({ socket }, i) => socket.emit('say', expected[i]));
  await Promise.all(heard);
  const newcomer = await join();
  for (const { socket } of [...people, newcomer]) socket.disconnect();
  return { on: [...new Set(people.map(({ index }) => index))].sort(), told: expected.every((text) => newcomer.history.includes(text)) };
}

const report = { answered: await answeredBy(12), visits: await visits(6), rooms: await rooms(6, 3), chat: await chat(3) };
clearTimeout(END);
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
