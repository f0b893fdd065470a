// Uses the form of jobs/form in a browser, where the daemon serves it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const url = `${process.env.ROUTES}/form`;
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
});
after(async () => browser.close());

// Fills in the form, sends it, and returns the response.
async function send(page, name, guests) {
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Number of guests').fill(guests);
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: 'Send' }).click(),
  ]);
  await page.waitForLoadState();
  return response;
}

test('form_with_mistakes_is_shown_again_with_what_is_wrong', async () => {
  const page = await browser.newPage();
  assert.equal((await page.goto(url)).status(), 200);
  const response = await send(page, 'Ada', 'many');
  assert.equal(response.status(), 422);
  assert.equal(await page.locator('.error').innerText(), 'Enter a number from 1 to 20.');
  assert.equal(await page.getByLabel('Name').inputValue(), 'Ada');
});

test('form_that_is_right_is_answered_with_its_values_as_text', async () => {
  const page = await browser.newPage();
  await page.goto(url);
  const name = '<img src=x onerror=document.title="run">';
  const response = await send(page, name, '3');
  assert.equal(response.status(), 200);
  assert.ok((await page.locator('body').innerText()).includes(name));
  assert.notEqual(await page.title(), 'run');
});

test('page_at_a_listener_of_the_api_can_use_neither_the_api_nor_forms', async () => {
  const page = await browser.newPage();
  const opened = await page.goto(`${process.env.API}/x/form/`);
  assert.match(opened.headers()['content-security-policy'], /^sandbox/);
  assert.equal(await page.evaluate(() => self.origin), 'null');
  const read = await page.evaluate(async (info) => {
    try {
      return await (await fetch(info)).text();
    } catch {
      return 'refused';
    }
  }, `${process.env.API}/info`);
  assert.equal(read, 'refused');
  assert.equal((await send(page, 'Ada', '3')).status(), 403);
});
