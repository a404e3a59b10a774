// The page in a real browser. Skipped where there is no Chromium; `make test` installs it where apt-get can.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { chromium } from 'playwright-core';

import { startServer } from './server.js';

const program = process.env.PATH.split(path.delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => path.join(folder, name)))
  .find(existsSync);

// The last four keep Chromium from looking up hosts of its own.
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

describe('the page', { skip: program ? false : 'no Chromium here' }, () => {
  for (const colorScheme of ['light', 'dark']) {
    test(`shows who answers, chats, echoes and counts (${colorScheme})`, async (t) => {
      const server = await startServer(t, { DEMO_INDEX: '5' });
      const browser = await chromium.launch({ executablePath: program, args: FLAGS });
      t.after(() => browser.close());
      const page = await browser.newPage({ colorScheme });
      const complaints = [];
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
      await page.goto(server.url);

      await page.getByText('Server 5', { exact: true }).waitFor();
      await page.getByText(`pid ${server.child.pid}`).first().waitFor();
      await page.locator('#chat-state', { hasText: 'connected to server 5 by websocket' }).waitFor();
      await page.locator('#echo-state', { hasText: 'is on server 5' }).waitFor();
      await page.locator('#echo-time', { hasText: 'ms' }).waitFor();
      await page.locator('#clock', { hasText: /\d\d:\d\d:\d\d/ }).waitFor();

      await page.fill('#chat-text', '<b>hello</b> there');
      await page.click('#chat-form button');
      await page.locator('#chat-log', { hasText: '<b>hello</b> there' }).waitFor();

      await page.locator('#visits', { hasText: '1' }).waitFor();
      await page.click('#visit');
      await page.locator('#visits', { hasText: '2' }).waitFor();

      await page.click('#send-many');
      await page.waitForFunction(() => document.querySelectorAll('#strip i').length >= 30);
      await page.click('[data-path^="/block"]');
      await page.locator('#work-log .tile', { hasText: '3.' }).waitFor();

      const before = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      await page.click('#theme');
      assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), before);
      assert.deepEqual(complaints, []);
    });
  }
});
