// Drives a real Chromium through the key service's page, for tests/e2e/test_key_page.py.
//
//   node browser.mjs CONFIG.json
//
// CONFIG: {service, proxy, link, screenshots, oidc, front}. Prints a line of JSON for each step, {"step", …}; the last one is {"done": true}.
// Every view is checked by axe-core in both colour schemes; a violation ends it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));

const check = (fine, words) => {
  if (!fine) throw new Error(words);
};

const browser = await chromium.launch({
  executablePath: config.chromium ?? '/usr/bin/chromium',
  // The tests run as root in a container, where Chromium has no sandbox of its own.
  args: process.getuid() === 0 ? ['--no-sandbox'] : [],
});

async function session(colorScheme = 'light') {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, colorScheme, reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.setDefaultTimeout(30000);
  const complaints = [];
  // A broken policy, a script error, something from elsewhere: nothing of the kind may happen on our pages. The provider's are its own.
  const ours = () => page.url().startsWith(config.service);
  page.on('console', (message) => {
    if (ours() && message.type() === 'error' && !/status of (403|404|422)/.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (ours() && !request.isNavigationRequest() && protocol !== 'data:' && origin !== config.service) complaints.push(`asked ${origin}`);
  });
  return { context, page, complaints };
}

async function accessible(page, view) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // By the debugger, which the page's policy does not bind.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    }));
    const words = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).slice(0, 3).join(' ')}`);
    check(words.length === 0, `${view} (${colorScheme}) is not accessible: ${words.join('\n')}`);
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
}

async function view(page, name, { shot = true } = {}) {
  await accessible(page, name);
  if (shot && config.screenshots) await page.screenshot({ path: `${config.screenshots}/${name}.png`, fullPage: true });
  tell('view', { name });
}

async function call(key, agent = 'orders') {
  const answer = await fetch(`${config.proxy}/rest/${agent}`, { headers: { 'x-api-key': key } });
  await answer.arrayBuffer();
  return answer.status;
}

/** Milliseconds until every one of eight calls in a row is answered so. */
async function becomes(key, status, agent) {
  const began = performance.now();
  for (;;) {
    const answers = [];
    for (let i = 0; i < 8; i += 1) answers.push(await call(key, agent));
    if (answers.every((a) => a === status)) return Math.round(performance.now() - began);
    check(performance.now() - began < 15000, `waited in vain for ${status}: ${answers}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

async function life() {
  const { context, page, complaints } = await session();
  await page.goto(config.service);
  check(page.url().endsWith('/signin'), `whoever is not signed in is sent to sign in, not to ${page.url()}`);
  await view(page, 'sign-in', { shot: false });
  await page.goto(config.link);
  check(!page.url().includes('#'), 'the token is gone from the address');
  await page.getByLabel('Your e-mail address').fill('root@example.com');
  await view(page, 'welcome', { shot: false });
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.waitForURL('**/agents');
  const cookies = await context.cookies();
  check(cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === 'Lax', JSON.stringify(cookies.map(({ value, ...c }) => c)));
  await view(page, 'agents-empty', { shot: false });

  // Register an agent, by keyboard.
  await page.getByRole('link', { name: 'Register an agent' }).focus();
  await page.keyboard.press('Enter');
  await page.waitForURL('**/agents/new');
  await page.getByLabel('Name').fill('orders');
  await page.getByLabel('Owner').fill('alice@example.com');
  await page.getByLabel('Workspace').fill('shop');
  await page.getByLabel('Organisation').fill('example');
  await page.getByLabel('Description').fill('Takes orders and answers questions about them');
  await view(page, 'agent-new', { shot: false });
  await page.keyboard.press('Enter');
  await page.waitForURL('**/agents/orders');
  tell('registered');

  // A key: shown once, and good at once.
  await page.getByLabel('Name', { exact: true }).fill('nightly job');
  await page.getByLabel('Owner').fill('alice@example.com');
  await page.getByLabel('Expires').fill('yesterday');
  await page.getByRole('button', { name: 'Create key' }).click();
  await page.getByRole('alert').waitFor();
  check((await page.getByRole('alert').innerText()).includes('expires'), 'says what is wrong');
  check(await page.getByLabel('Name', { exact: true }).inputValue() === 'nightly job', 'keeps what was filled in');
  await page.getByLabel('Expires').fill('90d');
  await page.getByLabel('Rate limit').fill('6000/1m');
  await page.getByRole('button', { name: 'Create key' }).click();
  const secret = page.getByLabel('The secret');
  await secret.waitFor();
  const key = (await secret.innerText()).trim();
  check(/^gak_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/.test(key), 'a key');
  tell('created', { ms: await becomes(key, 200) });
  const focused = await page.evaluate(() => document.activeElement.getAttribute('aria-labelledby'));
  check(focused === 'made', `the focus is where the news is, not at ${focused}`);
  check((await page.locator('pre').allInnerTexts()).some((t) => t.includes('curl') && t.includes(key)), 'a curl snippet');
  check((await page.content()).includes('secrets.AGENT_KEY'), 'a snippet for GitHub Actions');
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: config.service });
  await page.getByRole('button', { name: 'Copy' }).first().click();
  await page.getByText('Copied.').waitFor({ state: 'attached' });
  check(await page.evaluate(() => navigator.clipboard.readText()) === key, 'copied');
  // The picture that goes into the documentation shows no key that is good for anything.
  await page.evaluate((text) => {
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) walk.currentNode.data = walk.currentNode.data.replaceAll(text, `${text.slice(0, 17)}${'•'.repeat(43)}_••••••`);
  }, key);
  await view(page, 'key-created');
  await page.reload();
  check(!(await page.content()).includes(key), 'not shown again');

  // Use, which the proxy reports.
  for (let i = 0; i < 12; i += 1) await call(key);
  for (let i = 0; i < 3; i += 1) await call(key, 'fraud');
  const id = key.split('_')[1];
  const counted = async () => {
    await page.goto(`${config.service}/keys/${id}?range=hour`);
    return page.getByText(/let in: \d\d/).isVisible();
  };
  for (let i = 0; !(await counted()); i += 1) {
    check(i < 60, 'use never shows');
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  }
  await view(page, 'key');
  await page.getByRole('link', { name: 'Last 7 days' }).click();
  await page.getByRole('link', { name: 'Last 7 days' }).and(page.locator('[aria-current]')).waitFor();
  await page.goto(`${config.service}/agents/orders?range=hour`);
  await view(page, 'agent');
  tell('used');

  // Rotate: both are good; revoke the first: it is not.
  await page.getByRole('link', { name: `Rotate ${id}` }).click();
  await view(page, 'rotate', { shot: false });
  await page.getByRole('button', { name: 'Rotate' }).click();
  await secret.waitFor();
  const second = (await secret.innerText()).trim();
  tell('rotated', { ms: await becomes(second, 200), old: await call(key) });
  await page.goto(`${config.service}/keys/${id}`);
  await page.getByRole('link', { name: 'Revoke' }).click();
  await page.getByLabel('Reason').fill('leaked in a build log');
  await view(page, 'revoke');
  await page.getByRole('link', { name: 'Cancel' }).click();
  check(await call(key) === 200, 'cancelled: still good');
  await page.getByRole('link', { name: 'Revoke' }).click();
  await page.getByLabel('Reason').fill('leaked in a build log');
  await page.getByRole('button', { name: 'Revoke' }).click();
  tell('revoked', { ms: await becomes(key, 401), other: await call(second) });
  await page.getByText('leaked in a build log').waitFor();

  // The other views.
  await page.goto(`${config.service}/service-accounts`);
  await page.getByText('Create a service-account token').click();
  await page.getByLabel('User').fill('alice@example.com');
  await page.getByRole('button', { name: 'Create key' }).click();
  await secret.waitFor();
  const account = (await secret.innerText()).trim();
  check(account.startsWith('gsa_'), 'a service-account token');
  tell('account', { ms: await becomes(account, 200) });
  await page.goto(`${config.service}/service-accounts`);
  await view(page, 'service-accounts');
  for (const name of ['keys', 'attention', 'tokens', 'people', 'fleet', 'audit']) {
    await page.goto(`${config.service}/${name}`);
    await view(page, name, { shot: !['tokens', 'people'].includes(name) });
  }
  await page.getByLabel('Action').fill('key.revoke');
  await page.getByLabel('Action').press('Enter');
  await page.waitForURL('**action=key.revoke**');
  await page.waitForFunction(() => document.querySelectorAll('#list tbody tr').length === 1);
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export CSV' }).click()]);
  const lines = readFileSync(await file.path(), 'utf8').trim().split('\n');
  check(lines.length === 2 && lines[1].includes('leaked in a build log'), `the export: ${lines}`);
  // Search as it is typed.
  await page.goto(`${config.service}/agents`);
  await page.getByLabel('Search').fill('nothing-like-it');
  await page.getByText('No agent matches').waitFor();
  await view(page, 'agents-none', { shot: false });
  await page.getByLabel('Search').fill('ord');
  await page.getByRole('link', { name: 'orders' }).waitFor();
  await view(page, 'agents');
  await page.goto(`${config.service}/agents/none`);
  await page.getByRole('alert').waitFor();
  await view(page, 'not-found', { shot: false });
  check(complaints.length === 0, complaints.join('\n'));

  // Without scripts it does the same.
  const plain = await browser.newContext({ javaScriptEnabled: false, storageState: await context.storageState() });
  const bare = await plain.newPage();
  await bare.goto(`${config.service}/agents/orders`);
  await bare.getByText('Create a key').click();
  await bare.getByRole('button', { name: 'Create key' }).click();
  check((await bare.getByLabel('The secret').innerText()).startsWith('gak_'), 'a key without scripts');
  await plain.close();
  tell('without scripts');

  // Another site can't do anything in our name.
  const stolen = await fetch(`${config.service}/agents/orders/delete`, {
    method: 'POST',
    redirect: 'manual',
    headers: {
      cookie: cookies.map((c) => `${c.name}=${c.value}`).join('; '), origin: 'https://evil.example', 'sec-fetch-site': 'cross-site',
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: '',
  });
  check(stolen.status === 403, `a form of another site: ${stolen.status}`);

  await page.goto(`${config.service}/agents`);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL('**/signin');
  const after = await fetch(`${config.service}/api/v1/me`, { headers: { cookie: cookies.map((c) => `${c.name}=${c.value}`).join('; ') } });
  check(after.status === 401, 'the session is over for whoever kept the cookie');
  tell('signed out');
  await context.close();
}

async function oidc() {
  for (const [login, sees] of Object.entries(config.oidc.people)) {
    const { context, page, complaints } = await session();
    await page.goto(`${config.service}/signin`);
    await page.getByRole('link', { name: /Sign in with/ }).click();
    // oidc-provider's own pages.
    await page.locator('input[name=login]').fill(login);
    await page.locator('input[name=password]').fill('any');
    await page.locator('button[type=submit]').click();
    await page.locator('form button[type=submit]').click();
    if (sees === null) {
      await page.getByRole('alert').waitFor();
      check(page.url().startsWith(`${config.service}/signin/callback`), page.url());
      tell('oidc refused', { login });
    } else {
      await page.waitForURL(`${config.service}/agents`);
      const me = await page.evaluate(async () => (await fetch('/api/v1/me')).json());
      const rows = await page.locator('tbody tr').count();
      check(complaints.length === 0, complaints.join('\n'));
      tell('oidc', { login, me, rows });
      // A callback that this browser did not ask for.
      await page.goto(`${config.service}/signin/callback?code=x&state=y`);
      await page.getByRole('alert').waitFor();
    }
    await context.close();
  }
}

// Envoy signs people in before they reach the service: its address is Envoy's.
async function front() {
  for (const [login, sees] of Object.entries(config.front.people)) {
    const { context, page, complaints } = await session();
    await page.goto(`${config.service}/agents?q=`);
    check(page.url().startsWith(config.front.issuer), `not sent to the issuer: ${page.url()}`);
    await page.locator('input[name=login]').fill(login);
    await page.locator('input[name=password]').fill('any');
    await page.locator('button[type=submit]').click();
    await page.locator('form button[type=submit]').click();
    // Where they wanted to go in the first place.
    await page.waitForURL(`${config.service}/agents?q=`);
    const ask = (headers) => context.request.get(`${config.service}/api/v1/me`, { headers, failOnStatusCode: false });
    if (sees === null) {
      tell('front refused', { login, status: (await ask()).status(), text: await page.locator('body').textContent() });
    } else {
      const rows = await page.locator('tbody tr').count();
      const me = await (await ask()).json();
      const forged = await (await ask({ 'x-auth-user-id': 'root@example.com', 'x-auth-groups': 'portcullis-admins' })).json();
      const cookies = await context.cookies(config.service);
      // A form of the page, with the origin it must come from.
      let made = null;
      let token = null;
      if (config.front.makes?.[login]) {
        await page.goto(`${config.service}/agents/${config.front.makes[login]}`);
        await page.getByLabel('Name', { exact: true }).fill('by the proxy in front');
        await page.getByRole('button', { name: 'Create key' }).click();
        made = (await page.getByLabel('The secret').innerText()).trim().slice(0, 4);
        const answer = await context.request.post(`${config.service}/api/v1/tokens`, { data: { kind: 'api', name: 'script' }, headers: { origin: config.service } });
        token = (await answer.json()).token;
      }
      check(complaints.length === 0, complaints.join('\n'));
      tell('front', { login, me, forged, rows, made, token, readable: cookies.filter((c) => !c.httpOnly).map((c) => c.name) });
      await page.goto(`${config.service}/oauth2/signout`);
      await page.goto(`${config.service}/agents`);
      check(page.url().startsWith(config.front.issuer), `still signed in: ${page.url()}`);
    }
    await context.close();
  }
}

try {
  await (config.oidc ? oidc() : config.front ? front() : life());
  console.log(JSON.stringify({ done: true }));
} catch (error) {
  console.log(JSON.stringify({ failed: String(error?.stack ?? error) }));
  process.exitCode = 1;
} finally {
  await browser.close();
}
