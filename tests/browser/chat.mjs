// The chat in a real browser, against a real gateway with two shards, two workers and NATS.
//
// `cargo xtask test --only browser` runs it. It needs
//   CHAT_PAGE      the address of the page
//   NATS_URL       the server that gateway and workers use
//   CHROMIUM_BIN   the browser
//   PLAYWRIGHT     a folder in which playwright-core is installed [this one]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";

import { publishText } from "./bus.mjs";
import { Person } from "./person.mjs";
import { Proxy } from "./proxy.mjs";

const { CHAT_PAGE, NATS_URL, CHROMIUM_BIN, PLAYWRIGHT } = process.env;
for (const [name, value] of Object.entries({ CHAT_PAGE, NATS_URL, CHROMIUM_BIN })) {
  if (!value) throw new Error(`${name} is not set; run this with: cargo xtask test --only browser`);
}
const require = createRequire(PLAYWRIGHT ? path.join(PLAYWRIGHT, "package.json") : import.meta.url);
const { chromium } = require("playwright-core");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
// More than chance needs to meet both of two, except once in 2^40.
const OFTEN = 40;

let browser;
let room = 0;
let people = [];

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM_BIN, headless: true, args: FLAGS });
});
after(() => browser?.close());

// Each story has a room of its own.
afterEach(async () => {
  const all = people;
  people = [];
  room += 1;
  for (const person of all) await person.leave();
});

const here = () => `room-${room}`;

async function open(name, options, url = CHAT_PAGE) {
  const person = await Person.open(browser, url, name, options);
  people.push(person);
  return person;
}

async function enter(name, options) {
  const person = await open(name, options);
  await person.login(here());
  await person.seesState("connected");
  return person;
}

test("two people see each other come, talk and go", async () => {
  const ada = await enter("Ada");
  await ada.seesPeople("Ada");
  const ben = await enter("Ben");
  await ada.seesPeople("Ada", "Ben");
  await ben.seesPeople("Ada", "Ben");
  await ada.seesNotice("login", "Ben joined");

  const lines = Array.from({ length: 10 }, (_, n) => `line ${n}`);
  for (const line of lines) await ada.say(line);
  await ben.say("thank you");
  for (const person of [ada, ben]) {
    await person.seesMessage("line 9");
    await person.seesMessage("thank you");
    const heard = await person.messages();
    assert.deepEqual(heard.filter((line) => line.startsWith("line")), lines);
  }

  people.splice(people.indexOf(ben), 1);
  await ben.leave();
  await ada.seesNotice("logout", "Ben left");
  await ada.seesPeople("Ada");
});

test("a private message reaches one person only", async () => {
  const [ada, ben, eve] = [await enter("Ada"), await enter("Ben"), await enter("Eve")];
  await ada.seesPeople("Ada", "Ben", "Eve");
  await ada.choose("Ben");
  await ada.say("only for Ben");
  await ben.seesMessage("only for Ben", "whisper");
  await ada.seesMessage("only for Ben", "whisper");
  // Ben tells everybody: had Eve been meant too, she would have heard the other first.
  await ben.say("heard it");
  await eve.seesMessage("heard it");
  assert.deepEqual(await eve.messages(), ["heard it"]);
});

test("rooms are apart", async () => {
  const ada = await enter("Ada");
  const ben = await open("Ben");
  await ben.login(`${here()}-other`);
  await ben.seesState("connected");
  await ada.say("is anybody here?");
  await ada.seesMessage("is anybody here?");
  await ben.say("alone");
  await ben.seesMessage("alone");
  await ben.seesPeople("Ben");
  assert.deepEqual(await ben.messages(), ["alone"]);
});

test("what people write is text and never markup", async () => {
  const ada = await enter("<b>Ada</b>");
  const ben = await enter("Ben");
  const text = '<img src=x onerror="document.title=\'taken\'"> *.> 你好 🙂';
  await ada.say(text);
  await ben.seesMessage(text);
  await ben.seesPeople("<b>Ada</b>", "Ben");
  assert.equal(await ben.page.locator("#log img, #users b").count(), 0);
  assert.doesNotMatch(await ben.page.title(), /taken/);
});

test("a name that is missing or too long is refused", async () => {
  const ada = await open("Ada");
  for (const name of ["", "x".repeat(100)]) {
    await ada.login(here(), name);
    await ada.page.waitForSelector("#login-error:not(:empty)");
    assert.ok(await ada.page.isHidden("#chat"));
  }
  await ada.login(here());
  await ada.seesState("connected");
});

test("both workers answer, and both shards hold connections", async () => {
  const ada = await enter("Ada");
  for (let n = 0; n < OFTEN && (await ada.workers()).length < 2; n += 1) {
    await ada.say(`message ${n}`);
    await ada.seesMessage(`message ${n}`);
  }
  assert.equal((await ada.workers()).length, 2, "workers that answered");

  const first = await ada.gateway();
  let other = null;
  for (let n = 0; n < OFTEN && !other; n += 1) {
    const guest = await enter(`Guest ${n}`);
    if ((await guest.gateway()) !== first) {
      other = guest;
    } else {
      people.splice(people.indexOf(guest), 1);
      await guest.leave();
    }
  }
  assert.ok(other, "a connection on the other shard");
  await other.say("from the other shard");
  await ada.seesMessage("from the other shard");
});

test("a lost connection comes back, and what was written meanwhile is sent once", async () => {
  const config = await (await fetch(new URL("config.json", CHAT_PAGE))).json();
  const proxy = await Proxy.to(config.gateway);
  try {
    const ben = await enter("Ben");
    // Only Ada's way to the gateway can be cut.
    const context = { bypassCSP: true, serviceWorkers: "block" };
    const ada = await open("Ada", context, "about:blank");
    await ada.page.route("**/config.json", (route) => route.fulfill({ json: { ...config, gateway: proxy.url } }));
    await ada.page.goto(CHAT_PAGE);
    await ada.login(here());
    await ben.seesPeople("Ada", "Ben");

    proxy.cut();
    await ada.seesState("waiting");
    await ben.seesPeople("Ben");
    await ada.say("written in the dark");
    proxy.mend();
    await ada.seesState("connected");
    await ben.seesMessage("written in the dark");
    await ada.seesMessage("written in the dark");
    await ben.seesPeople("Ada", "Ben");
    await ada.say("and on");
    await ben.seesMessage("and on");
    assert.deepEqual(await ben.messages(), ["written in the dark", "and on"]);
  } finally {
    proxy.close();
  }
});

test("a reload goes back into the room", async () => {
  const [ada, ben] = [await enter("Ada"), await enter("Ben")];
  await ada.page.reload();
  await ada.seesState("connected");
  await ada.seesPeople("Ada", "Ben");
  await ben.seesPeople("Ada", "Ben");
});

test("on a phone nothing is wider than the screen", async () => {
  const phone = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true };
  const [ada, ben] = [await enter("Ada", phone), await enter("Ben")];
  await ben.say("a-word-without-an-end-".repeat(20));
  await ben.say("done");
  await ada.seesMessage("done");
  const wide = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;
  assert.equal(await ada.page.evaluate(wide), 0, "pixels to scroll sideways");
  await ada.page.tap("#people-button");
  await ada.page.tap('#users li[data-client-name="Ben"] button');
  await ada.page.fill("#text", "from my phone");
  await ada.page.tap("#send");
  await ben.seesMessage("from my phone", "whisper");
});

test("a line published on the bus appears in the room", async () => {
  const ada = await enter("Ada");
  await publishText(NATS_URL, `gatebus.group.${here()}`, "hello from the bus");
  await ada.seesNotice("bus", "hello from the bus");
});
