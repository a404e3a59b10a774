// Opens the demo's page in headless Chromium and uses its chat and its echo until both have worked.
// Prints one line of JSON: what the page was loaded with, what it showed and complained of; or why it was skipped.
//
//   node browser.mjs URL      with DEMO_FOLDER for node_modules

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.DEMO_FOLDER, 'package.json'));
const { chromium } = require('playwright-core');

const url = process.argv[2];
// For the whole visit; the caller waits longer, so that it gets a report in any case.
const END = Date.now() + 22_000;
const left = () => Math.max(1, END - Date.now()); // ms

const program = process.env.PATH.split(path.delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => path.join(folder, name)))
  .find(existsSync);

// The certificate is signed by an authority of the test. The last four keep Chromium from looking up hosts of its own.
const FLAGS = ['--ignore-certificate-errors', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

// Whether the element comes to show the text in time; the report says what it showed instead.
const shows = (page, selector, hasText) =>
  page.locator(selector, { hasText }).first().waitFor({ timeout: left() }).then(() => true, () => false);

async function visit(page) {
  await page.goto(url, { timeout: left() });
  await shows(page, '#chat-state', 'by websocket');
  const echoed = (await shows(page, '#echo-state', 'is on server')) && (await shows(page, '#echo-time', 'ms'));
  await page.fill('#chat-text', 'hello from a browser');
  await page.click('#chat-form button');
  const said = await shows(page, '#chat-log', 'hello from a browser');
  return {
    protocol: await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol),
    chat: await page.textContent('#chat-state'),
    echo: await page.textContent('#echo-state'),
    said,
    echoed,
  };
}

async function report() {
  if (!program) return { skipped: 'no Chromium here' };
  const browser = await chromium.launch({ executablePath: program, args: FLAGS });
  try {
    const page = await browser.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    const seen = await visit(page);
    await page.close();
    return { ...seen, complaints };
  } finally {
    await browser.close();
  }
}

process.stdout.write(`${JSON.stringify(await report())}\n`);
