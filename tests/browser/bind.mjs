// The bind example in a real browser: its page, a real gateway and worker, and two back ends, one in Rust and one
// in PHP over the HTTP API. Both must do the same.
//
// `cargo xtask test --only browser` runs it. It needs
//   BIND_PAGE_RUST, BIND_PAGE_PHP   the addresses of the page
//   CHROMIUM_BIN                    the browser
//   PLAYWRIGHT                      a folder in which playwright-core is installed [this one]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

const { BIND_PAGE_RUST, BIND_PAGE_PHP, CHROMIUM_BIN, PLAYWRIGHT } = process.env;
for (const [name, value] of Object.entries({ BIND_PAGE_RUST, BIND_PAGE_PHP, CHROMIUM_BIN })) {
  if (!value) throw new Error(`${name} is not set; run this with: cargo xtask test --only browser`);
}
const require = createRequire(PLAYWRIGHT ? path.join(PLAYWRIGHT, "package.json") : import.meta.url);
const { chromium } = require("playwright-core");

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const PASSWORDS = { ann: "tulip", bob: "maple" };
const TIME = 30_000;

let browser;
let contexts = [];
let errors = [];

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM_BIN, headless: true, args: FLAGS });
});
after(() => browser?.close());
afterEach(async () => {
  for (const context of contexts) await context.close();
  contexts = [];
  assert.deepEqual(errors, [], "errors on the pages");
});

/** A browser of its own, with the page open. */
async function open(url, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(TIME);
  contexts.push(context);
  return tab(context, url);
}

async function tab(context, url) {
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  return page;
}

async function login(page, name, password = PASSWORDS[name]) {
  await page.fill("#name", name);
  await page.fill("#password", password);
  await page.click("#enter");
}

async function enter(url, name, options) {
  const page = await open(url, options);
  await login(page, name);
  await bound(page);
  return page;
}

const bound = (page) => page.waitForSelector('#state[data-state="bound"]');
const client = (page) => page.getAttribute("#client", "data-client");
const step = async (page, order) => Number(await page.getAttribute(`[data-order="${order}"]`, "data-step"));
const sees = (page, order, step) => page.waitForSelector(`[data-order="${order}"][data-step="${step}"]`);
const advance = (page, order) => page.click(`[data-order="${order}"] button`);

/** Asks the back end as a script on the page could. */
function post(page, path, body) {
  const ask = async ([path, body]) => {
    const headers = { "Content-Type": "application/json" };
    return (await fetch(path, { method: "POST", headers, body: JSON.stringify(body) })).status;
  };
  return page.evaluate(ask, [path, body]);
}

for (const [name, url] of [["Rust", BIND_PAGE_RUST], ["PHP", BIND_PAGE_PHP]]) {
  describe(`with the back end in ${name}`, () => {
    test("whoever logs in sees their orders, and a wrong password nothing", async () => {
      const page = await open(url);
      assert.match(await page.textContent("#backend"), new RegExp(name));
      await login(page, "ann", "maple");
      await page.waitForSelector("#login-error:not(:empty)");
      assert.ok(await page.isHidden("#shop"));
      await login(page, "ann");
      await bound(page);
      const what = await page.locator(".what").allTextContents();
      assert.deepEqual(what, ["Garden chair", "Tea, 500 g"]);
    });

    test("what happens appears on all pages of the user, and on nobody else's", async () => {
      const [laptop, bob] = [await enter(url, "ann"), await enter(url, "bob")];
      const phone = await enter(url, "ann", { viewport: { width: 360, height: 640 } });
      const second = await tab(laptop.context(), url);
      await bound(second);
      const before = await step(laptop, 102);
      await advance(phone, 102);
      for (const page of [phone, laptop, second]) await sees(page, 102, (before + 1) % 4);
      // Bob's own comes afterwards: had he been meant too, he would have heard the other first.
      const own = await step(bob, 202);
      await advance(bob, 202);
      await sees(bob, 202, (own + 1) % 4);
      assert.deepEqual(await bob.locator(".what").allTextContents(), ["Bicycle bell", "Lamp"]);
    });

    test("nobody binds a connection that is not theirs", async () => {
      const ann = await open(url);
      const posted = ann.waitForRequest("**/bind");
      await login(ann, "ann");
      await bound(ann);
      const bob = await enter(url, "bob");
      const [hers, his] = [await client(ann), await client(bob)];
      assert.match(hers, /^[0-9a-f]{20}$/);
      for (const secret of ["", "guessed", "0".repeat(32)]) {
        assert.equal(await post(bob, "/bind", { client_id: hers, secret }), 403);
      }
      // A secret opens once: not even the page itself can use it again, let alone who has overheard it.
      const used = (await posted).postDataJSON();
      assert.equal(used.client_id, hers);
      for (const page of [ann, bob]) assert.equal(await post(page, "/bind", used), 403);
      assert.equal(await post(bob, "/bind", { client_id: his, secret: "" }), 403);
      assert.equal(await post(bob, "/bind", { client_id: "0".repeat(20), secret: "x" }), 403);
      const stranger = await open(url);
      assert.equal(await post(stranger, "/bind", { client_id: hers, secret: "x" }), 401);
      assert.equal(await post(stranger, "/advance", { order: 101 }), 401);
      assert.equal(await post(bob, "/advance", { order: 101 }), 404);
      const before = await step(ann, 101);
      await advance(ann, 101);
      await sees(ann, 101, (before + 1) % 4);
    });

    test("a reload binds the new connection", async () => {
      const ann = await enter(url, "ann");
      const first = await client(ann);
      await ann.reload();
      await bound(ann);
      assert.notEqual(await client(ann), first);
      const before = await step(ann, 101);
      await advance(ann, 101);
      await sees(ann, 101, (before + 1) % 4);
    });

    test("a logout ends all pages of the login, and no other", async () => {
      const [laptop, phone] = [await enter(url, "ann"), await enter(url, "ann")];
      const second = await tab(laptop.context(), url);
      await bound(second);
      await laptop.click("#leave");
      for (const page of [laptop, second]) await page.waitForSelector("#login-form", { state: "visible" });
      const before = await step(phone, 101);
      await advance(phone, 101);
      await sees(phone, 101, (before + 1) % 4);
      await login(second, "bob");
      await bound(second);
      assert.deepEqual(await second.locator(".what").allTextContents(), ["Bicycle bell", "Lamp"]);
    });

    test("one page too many rests until somebody looks at it again", async () => {
      const page = await enter(url, "ann");
      // Fifty newer ones of the same login.
      await page.evaluate(async () => {
        const { gateway } = await (await fetch("/config.json")).json();
        for (let n = 0; n < 50; n += 1) {
          const socket = new WebSocket(gateway);
          const said = await new Promise((hear) => (socket.onmessage = ({ data }) => hear(JSON.parse(data))));
          const body = JSON.stringify({ client_id: said.client_id, secret: said.secret });
          const headers = { "Content-Type": "application/json" };
          const { status } = await fetch("/bind", { method: "POST", headers, body });
          if (status !== 204) throw new Error(`bind ${n}: ${status}`);
        }
      });
      await page.waitForSelector('#state[data-state="resting"]');
      await page.evaluate(() => window.dispatchEvent(new Event("focus")));
      await bound(page);
    });

    // PHP's logins are PHP's own sessions, which end by themselves.
    test("one login too many ends the oldest", { skip: name === "PHP" && "PHP has its own" }, async () => {
      const page = await enter(url, "ann");
      const headers = { "Content-Type": "application/json" };
      const body = JSON.stringify({ name: "ann", password: PASSWORDS.ann });
      for (let n = 0; n < 20; n += 1) {
        assert.equal((await fetch(`${url}/login`, { method: "POST", headers, body })).status, 204);
      }
      await page.waitForSelector("#login-form", { state: "visible" });
    });

    test("on a phone nothing is wider than the screen", async () => {
      const page = await open(url, { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true });
      const wide = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;
      await page.waitForSelector("#login-form", { state: "visible" });
      assert.equal(await page.evaluate(wide), 0, "pixels to scroll sideways");
      await login(page, "ann");
      await bound(page);
      assert.equal(await page.evaluate(wide), 0, "pixels to scroll sideways");
    });
  });
}
