// A person in the chat: a browser of their own, what they do on the page, and what they see.
//
// Every `sees…` waits until it is so, and fails when it does not become so in time.

import assert from "node:assert/strict";

const TIME = 30_000;

export class Person {
  /** Opens the page in a context of its own, as another person's browser. */
  static async open(browser, url, name, options = {}) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(TIME);
    const page = await context.newPage();
    const person = new Person(context, page, name);
    page.on("pageerror", (error) => person.errors.push(String(error)));
    await page.goto(url);
    return person;
  }

  constructor(context, page, name) {
    this.context = context;
    this.page = page;
    this.name = name;
    this.errors = [];
  }

  async login(room, name = this.name) {
    await this.page.fill("#name", name);
    await this.page.fill("#room", room);
    await this.page.click("#join");
  }

  async seesState(state) {
    await this.page.waitForSelector(`#state[data-state="${state}"]`, { state: "attached" });
  }

  /** Is in the room, with exactly these people, in any order. */
  async seesPeople(...names) {
    // A selector and no function: those are evaluated in the page, whose policy forbids eval.
    const each = names.map((name) => `:has(li[data-client-name=${JSON.stringify(name)}])`).join("");
    const nobodyElse = `:not(:has(li:nth-child(${names.length + 1})))`;
    try {
      await this.page.waitForSelector(`#users${each}${nobodyElse}`, { state: "attached" });
    } catch {
      const there = () => [...document.querySelectorAll("#users li")].map((li) => li.dataset.clientName).sort();
      assert.deepEqual(await this.page.evaluate(there), names.sort(), `the people that ${this.name} sees`);
    }
  }

  async say(text) {
    await this.page.fill("#text", text);
    await this.page.press("#text", "Enter");
  }

  /** Sees this message, and that it is not waiting to be sent any more. */
  async seesMessage(text, kind = "say") {
    const messages = this.page.locator(`#log li.message[data-kind="${kind}"]:not([data-pending])`);
    await messages.filter({ has: this.page.getByText(text, { exact: true }) }).first().waitFor();
  }

  async seesNotice(kind, text) {
    await this.page.locator(`#log li.notice[data-kind="${kind}"]`).filter({ hasText: text }).first().waitFor();
  }

  /** The contents of all messages, oldest first. */
  messages() {
    return this.page.locator("#log li.message .content").allTextContents();
  }

  /** Chooses whom the next message is for. */
  async choose(name) {
    await this.page.click(`#users li[data-client-name="${name}"] button`);
  }

  gateway() {
    return this.page.getAttribute("#gateway", "data-gateway");
  }

  workers() {
    return this.page.locator("#workers .worker").evaluateAll((all) => all.map((worker) => worker.dataset.worker));
  }

  async leave() {
    await this.context.close();
    assert.deepEqual(this.errors, [], `errors on ${this.name}'s page`);
  }
}
