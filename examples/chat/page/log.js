// The log: messages and notices, at most KEPT of them, oldest first.
//
// Everything that people wrote is set as text, never as markup.
// It follows the newest entry while the reader is at the end, and else says how much is new.

import { workerHue } from "./balance.js";
import { avatar, element } from "./element.js";

const KEPT = 500;
const SEEN = 1_000;
const TOGETHER = 3 * 60_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export class Log {
  #scroller;
  #list;
  #jump;
  #seen = new Map();
  #last = null;
  #lastDay = "";
  #below = 0;
  #atEnd = true;
  #divider = null;

  constructor(scroller, list, jump) {
    this.#scroller = scroller;
    this.#list = list;
    this.#jump = jump;
    jump.addEventListener("click", () => this.toEnd());
    scroller.addEventListener("scroll", () => {
      this.#atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
      if (this.#atEnd) this.#news(0);
    });
    // A keyboard that slides in or a window that shrinks must not hide the newest line.
    new ResizeObserver(() => {
      if (this.#atEnd) this.#scroll();
    }).observe(scroller);
  }

  /**
   * Adds a message, or confirms the one of the same `ref` that was waiting.
   * Events are delivered at least once, so one that was seen already is not shown again.
   * `first` draws a line above it: nobody looks, and it is the first to be missed.
   * Returns whether it is new here.
   */
  message(m, first = false) {
    const known = m.ref && this.#seen.get(m.ref);
    if (known) {
      if (known.dataset.pending !== undefined && !m.pending) this.#confirm(known, m);
      return false;
    }
    this.#date(m.time);
    if (first) this.#divide();
    const item = element("li", "message");
    item.dataset.kind = m.kind;
    item.dataset.from = m.from;
    if (m.ref) item.dataset.ref = m.ref;
    if (m.mine) item.classList.add("mine");
    if (m.pending) item.dataset.pending = "";

    const who = element("p", "who");
    who.append(element("bdi", "name", m.mine ? "You" : m.name));
    if (m.kind === "whisper") {
      const tag = element("span", "tag", m.mine ? "privately to " : "privately to you");
      if (m.mine) tag.append(element("bdi", "", m.toName));
      who.append(tag);
    }
    const content = element("p", "content", m.content);
    content.dir = "auto";
    const meta = element("p", "meta");
    meta.append(element("time"), element("span", "by"));
    const bubble = element("div", "bubble");
    bubble.append(who, content, meta);
    item.append(avatar(m.name), bubble);
    this.#stamp(item, m);

    const last = this.#last;
    const same = last && last.from === m.from && last.kind === m.kind && last.toName === m.toName;
    if (same && m.time - last.time < TOGETHER) item.classList.add("again");
    this.#last = m;
    if (m.ref) this.#remember(m.ref, item);
    this.#add(item, m.mine ? "follow" : "count");
    return true;
  }

  /** Marks a message of ours that did not get through. */
  fail(ref, why) {
    const item = this.#seen.get(ref);
    if (!item) return false;
    delete item.dataset.pending;
    item.dataset.failed = "";
    item.querySelector(".bubble").append(element("p", "trouble", `Not sent: ${why}`));
    if (this.#atEnd) this.#scroll();
    return true;
  }

  /** Adds a line of the chat's own; parts given as { name } are names of people. */
  notice(kind, parts, time = Date.now()) {
    this.#date(time);
    const item = element("li", "notice");
    item.dataset.kind = kind;
    for (const part of parts) item.append(part.name === undefined ? part : element("bdi", "", part.name));
    const at = element("time", "", clock.format(time));
    at.dateTime = new Date(time).toISOString();
    item.append(" ", at);
    this.#last = null;
    this.#add(item, "follow-if-there");
  }

  /** Empties the log: another room. */
  clear() {
    this.#list.replaceChildren();
    this.#seen.clear();
    this.#last = null;
    this.#lastDay = "";
    this.#divider = null;
    this.#news(0);
    this.#atEnd = true;
  }

  toEnd() {
    this.#atEnd = true;
    this.#news(0);
    this.#scroll();
  }

  #divide() {
    this.#divider?.remove();
    this.#divider = element("li", "divider new", "New");
    this.#list.append(this.#divider);
    this.#last = null;
  }

  #confirm(item, m) {
    delete item.dataset.pending;
    this.#stamp(item, m);
  }

  #stamp(item, m) {
    const at = item.querySelector("time");
    at.textContent = clock.format(m.time);
    at.dateTime = new Date(m.time).toISOString();
    if (!m.by) return;
    item.dataset.by = m.by;
    const by = item.querySelector(".by");
    by.textContent = `worker ${m.by.slice(0, 4)}`;
    by.style.setProperty("--hue", workerHue(m.by));
  }

  #date(time) {
    const text = day.format(time);
    if (text === this.#lastDay) return;
    // The first day needs no line of its own while it is today.
    if (this.#lastDay || text !== day.format(Date.now())) {
      this.#list.append(element("li", "divider", text));
    }
    this.#lastDay = text;
    this.#last = null;
  }

  #remember(ref, item) {
    this.#seen.set(ref, item);
    if (this.#seen.size > SEEN) this.#seen.delete(this.#seen.keys().next().value);
  }

  #add(item, how) {
    this.#list.append(item);
    while (this.#list.childElementCount > KEPT) this.#list.firstElementChild.remove();
    if (this.#atEnd || how === "follow") this.toEnd();
    else if (how === "count") this.#news(this.#below + 1);
  }

  #news(count) {
    this.#below = count;
    this.#jump.hidden = count === 0;
    this.#jump.textContent = count === 1 ? "1 new message ↓" : `${count} new messages ↓`;
  }

  #scroll() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}
