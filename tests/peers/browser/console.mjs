// A person at the console and the softphone, in Chromium; what the pages show, as one line of JSON.
// usage: node console.mjs CHROMIUM URL OPERATOR_KEY SCRIPT_KEY VOICE FOLDER pays|control|keyboard
// The control is what pays does, without a look at what it is like for people.
// VOICE is a WAV that the fake microphone plays; FOLDER takes a picture of each state, - none.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const [executablePath, url, key, scriptKey, voice, folder, journey] = process.argv.slice(2);
const WIDE = { width: 1280, height: 860 };
const NARROW = { width: 320, height: 700 };
const CARD = '4242424242424242#';
const fact = { errors: [], violations: [], overflows: [] };

const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--allow-loopback-in-peer-connection',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    `--use-file-for-fake-audio-capture=${voice}`,
    '--autoplay-policy=no-user-gesture-required', '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
});
// Room for the time that looking at the pages takes; a person has no need of it.
const PATIENCE = 30_000;

async function visit() {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: 'light' });
  context.setDefaultTimeout(PATIENCE);
  // By the browser's own hand: the pages let no script in that is not the relay's.
  await context.addInitScript(axe);
  return context;
}

async function open(context) {
  const page = await context.newPage();
  page.on('pageerror', (error) => fact.errors.push(String(error.stack)));
  page.on('console', (said) => {
    const refusal = said.text().includes('the server responded with a status of');
    if (said.type() === 'error' && !refusal) fact.errors.push(said.text());
  });
  return page;
}

/** Looks at a page in both themes and two widths: what hinders people, and a picture. */
async function look(page, state) {
  if (journey === 'control') return;
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [WIDE, NARROW]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(viewport);
      const where = `${state}-${colorScheme}-${viewport.width}`;
      const found = await page.evaluate(async () => {
        const { violations } = await globalThis.axe.run();
        const grave = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
        const wide = document.documentElement.scrollWidth - innerWidth;
        const where = ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target)}`;
        return { grave: grave.map(where), wide };
      });
      fact.violations.push(...found.grave.map((text) => `${where}: ${text}`));
      if (found.wide > 0) fact.overflows.push(`${where}: ${found.wide} px`);
      if (folder !== '-') await page.screenshot({ path: `${folder}/${where}.png`, fullPage: true });
    }
  }
  fact.looks = (fact.looks ?? 0) + 1;
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(WIDE);
}

async function signIn(page, given = key) {
  await page.getByLabel('API key').fill(given);
  await page.getByRole('button', { name: 'Continue' }).click();
}

/** Keys on the dial pad, one after the other was heard. */
async function dial(page, keys) {
  for (const one of keys) {
    await page.locator(`#pad [data-key="${one}"]`).click();
    await page.waitForTimeout(220);
  }
}

const state = (page, name) => page.locator(`#line-state[data-state=${name}]`).waitFor();
const accepted = (page, count) =>
  page.locator('.steps [data-state=accepted]').nth(count - 1).waitFor();

/** Waits for the end of a session. On a machine that stalls no quiet may be heard in time: an operator
 *  then has the call drained once more. */
async function reopened(page, drainAgain) {
  const states = ['open', 'held'].map((name) => `#line-state[data-state=${name}]`);
  for (let tries = 0; tries < 5; tries += 1) {
    await page.locator(states.join()).waitFor();
    if (await page.locator(states[0]).count()) return;
    await drainAgain();
    await page.locator('#line-state:not([data-state=held])').waitFor();
  }
}

/** What the page says that the engine hears, run by run, and was told; oldest first. */
const engine = (page) => page.evaluate(() => {
  const runs = [...document.querySelectorAll('.runs li')].reverse();
  const [band] = document.querySelectorAll('.band');
  const told = [...document.querySelectorAll('#told li')];
  return {
    runs: runs.map(({ dataset: { kind, from, to } }) => ({ kind, from: Number(from), to: Number(to) })),
    cut: { from: Number(band.dataset.from), to: Number(band.dataset.to) },
    told: told.map(({ dataset: { kind, result } }) => [kind, result ?? null]),
  };
});

async function pays() {
  const context = await visit();
  const page = await open(context);
  await page.goto(url);
  await page.getByLabel('API key').waitFor();
  await look(page, 'console-signed-out');
  await page.getByRole('link', { name: 'Softphone' }).click();
  await page.getByLabel('API key').waitFor();
  await look(page, 'softphone-signed-out');
  await page.getByLabel('API key').fill('sto_000000000000_nothing');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.locator('#key-wrong:visible').waitFor();
  await signIn(page);
  await page.locator('#call-button').waitFor();
  await look(page, 'softphone-idle');
  fact.kept = await page.evaluate(() => [localStorage.length, document.cookie, location.href]);

  // Another person talks meanwhile, as a tone and from a browser of their own.
  const other = await open(await visit());
  await other.goto(url);
  await signIn(other, scriptKey);
  await other.locator('#activity p').waitFor();
  fact.scriptActivity = await other.locator('#activity').textContent();
  await other.getByRole('link', { name: 'Softphone', exact: true }).click();
  // The key is the tab's: nobody is asked twice.
  await other.locator('#call-button').waitFor();
  const role = async (one) => (await one.locator('#who-text').textContent()).split(' ')[0];
  fact.roles = [await role(page), await role(other)];
  await other.getByLabel('a test tone').check();
  await other.getByRole('button', { name: 'Call', exact: true }).click();
  await state(other, 'open');

  await page.getByRole('button', { name: 'Call', exact: true }).click();
  await state(page, 'open');
  await page.waitForTimeout(5000);
  await dial(page, '12');
  fact.shownOpen = await page.locator('#keys').textContent();
  await look(page, 'softphone-open');
  const calls = await open(context);
  await calls.goto(url);
  await signIn(calls);
  await calls.locator('.call').first().waitFor();
  await calls.waitForTimeout(3000);
  await look(calls, 'console-open');

  await page.bringToFront();
  await page.getByLabel('It collects').selectOption('named patient');
  await page.getByRole('button', { name: 'Enter secure session' }).click();
  await state(page, 'secure');
  await page.locator('.steps [data-state=asked]').waitFor();
  await dial(page, CARD.slice(0, 10));
  fact.shownSecure = await page.locator('#keys').textContent();
  await page.waitForTimeout(1500);
  fact.progress = await page.locator('.progress .full').count();
  await picture(page, 'softphone', 745);
  await look(page, 'softphone-secure');
  await look(calls, 'console-secure');
  await page.bringToFront();
  await dial(page, CARD.slice(10));
  await accepted(page, 1);
  await dial(page, '1228');
  await accepted(page, 2);
  await dial(page, '123');
  const result = page.locator('.result[data-result]');
  await result.waitFor();
  fact.result = await result.getAttribute('data-result');
  fact.resultText = await result.textContent();
  fact.resultAt = Date.now();
  await reopened(page, async () => {
    await page.getByRole('button', { name: 'Cancel the secure session' }).click();
    await page.getByRole('button', { name: 'Cancel it', exact: true }).click();
  });
  await page.waitForTimeout(3000);
  fact.engine = await engine(page);
  fact.tones = (await other.evaluate(() =>
    [...document.querySelectorAll('.runs li')].map(({ dataset }) => dataset.kind)));
  await look(page, 'softphone-passed');

  await calls.bringToFront();
  const call = await page.locator('#in-call').getAttribute('data-call');
  await calls.goto(`${url}#${call}`);
  await calls.locator('.timeline [data-kind="secure_session.ended"]').waitFor();
  await calls.waitForTimeout(2000);
  fact.timeline = await calls.evaluate(() => {
    const told = (row) => row.querySelector('.engine-cell strong')?.textContent ?? null;
    return [...document.querySelectorAll('.timeline li')].map((row) => [row.dataset.kind, told(row)]);
  });
  fact.codec = await calls.locator('.call.chosen .codec').allTextContents();
  await calls.locator('#activity tbody tr').first().waitFor();
  fact.activity = await calls.locator('#activity tbody tr td:nth-child(2)').allTextContents();
  await picture(calls, 'console', 800);
  await look(calls, 'console-passed');
  await page.bringToFront();
  await page.getByRole('button', { name: 'Hang up' }).click();
  await state(page, 'closed');
  await calls.locator('#call .badge[data-state=closed]').waitFor();
}

/** A picture for the documentation: what fits on a screen. */
async function picture(page, name, height = WIDE.height) {
  if (folder === '-') return;
  await page.mouse.move(0, 0);
  await page.setViewportSize({ ...WIDE, height });
  await page.screenshot({ path: `${folder}/${name}.png` });
}

/** The same without a mouse: only keys, and where the focus is has to be seen. */
async function keyboard() {
  const page = await open(await visit());
  await page.goto(url);
  await page.locator('#key').waitFor();
  const press = (name) => page.keyboard.press(name);
  const reach = async (selector) => {
    for (let tries = 0; tries < 60; tries += 1) {
      const there = await page.evaluate((wanted) => document.activeElement.matches(wanted), selector);
      if (there) return page.evaluate((wanted) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        const isSeen = outlineStyle !== 'none' && outlineWidth !== '0px';
        if (!isSeen) throw new Error(`no focus is seen on ${wanted}`);
      }, selector);
      await press('Tab');
    }
    throw new Error(`${selector} is not reached by Tab`);
  };
  await page.keyboard.type(key);
  await press('Enter');
  await page.locator('#console').waitFor();
  await reach('nav a[href="/phone"]');
  await press('Enter');
  await page.locator('#call-button').waitFor();
  await reach('input[name=voice]');
  await press('ArrowDown');
  await reach('#call-button');
  await press('Enter');
  await state(page, 'open');
  await press('7');
  await reach('#pad [data-key="8"]');
  await press('Enter');
  await reach('#pad [data-key="9"]');
  await press('Space');
  fact.shownOpen = await page.locator('#keys').textContent();
  // What is still being sent when a session begins would count in it.
  await page.waitForTimeout(1000);
  await reach('#session button.main');
  await press('Enter');
  await state(page, 'secure');
  await page.keyboard.type(CARD, { delay: 220 });
  await accepted(page, 1);
  const cancel = async () => {
    await reach('#session .danger');
    await press('Enter');
    // The focus is on the harmless answer; the other is before it.
    await press('Shift+Tab');
    await press('Enter');
  };
  await cancel();
  await page.locator('.result[data-result=fail]').waitFor();
  fact.resultText = await page.locator('.result').textContent();
  await reopened(page, cancel);

  // In the console a call is hung up by the second answer, not by the first.
  await reach('nav a[href="/"]');
  const href = await page.locator('#in-call').getAttribute('data-call');
  const desk = await open(page.context());
  await desk.goto(`${url}#${href}`);
  await desk.locator('#key').fill(key);
  await desk.keyboard.press('Enter');
  const first = desk.locator('#call').getByRole('button', { name: 'Hang up' });
  await first.waitFor();
  await first.focus();
  await desk.keyboard.press('Enter');
  await desk.keyboard.press('Escape');
  fact.stillThere = await desk.locator('#call .badge').getAttribute('data-state');
  await desk.keyboard.press('Enter');
  await desk.keyboard.press('Shift+Tab');
  await desk.keyboard.press('Enter');
  await desk.locator('#call .badge[data-state=closed]').waitFor();
  await state(page, 'closed');
}

try {
  await { pays, control: pays, keyboard }[journey]();
} catch (error) {
  fact.errors.push(String(error.stack));
  for (const [at, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
    await picture(page, `error-${at}`);
  }
}
console.log(JSON.stringify(fact));
await browser.close();
