// The composer: what is being written, and for whom.
//
// Somebody we write to privately and who leaves stays chosen until we choose otherwise:
// what was meant for one must not go to all by accident.

import { length, wrong } from "./limits.js";

const COUNT_FROM = 100;

const $ = (id) => document.getElementById(id);

export class Composer {
  #limit;
  #on;
  #target = null;

  /** `on`: { send(content, target) -> what is wrong, or "", target(target) } */
  constructor(limit, on) {
    this.#limit = limit;
    this.#on = on;
    $("say-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    $("text").addEventListener("keydown", (event) => this.#key(event));
    $("text").addEventListener("input", () => {
      this.complain("");
      this.#fit();
    });
    $("target-clear").addEventListener("click", () => this.choose(null));
  }

  /** Whom we write to privately: { id, name, gone }, or null. */
  get target() {
    return this.#target;
  }

  /** Writes to somebody privately, or with null to everybody. */
  choose(target) {
    this.#target = target && { ...target, gone: false };
    this.#show();
    this.focus();
  }

  /** That person has left. */
  gone(id) {
    if (this.#target?.id !== id) return;
    this.#target.gone = true;
    this.#show();
  }

  /** Another room, or none: nobody is chosen. */
  reset() {
    this.#target = null;
    this.#show();
  }

  complain(text) {
    $("say-error").textContent = text;
  }

  focus() {
    $("text").focus();
  }

  #send() {
    const content = $("text").value.trim();
    if (content !== "") {
      const bad = this.#target?.gone
        ? `${this.#target.name} has left, so this was not sent.`
        : wrong("message", content, this.#limit) || this.#on.send(content, this.#target);
      this.complain(bad);
      if (!bad) $("text").value = "";
      this.#fit();
    }
    this.focus();
  }

  #key(event) {
    // While an input method composes, Enter is its own.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "Escape" && this.#target) {
      this.choose(null);
    }
  }

  #fit() {
    const text = $("text");
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
    const left = this.#limit - length(text.value.trim());
    $("count").hidden = left > COUNT_FROM;
    $("count").textContent = left;
    $("count").classList.toggle("over", left < 0);
  }

  #show() {
    const target = this.#target;
    const name = document.createElement("bdi");
    name.textContent = target?.name ?? "";
    $("target").hidden = !target;
    $("target").classList.toggle("gone", Boolean(target?.gone));
    $("target-text").replaceChildren(...(target?.gone ? [name, " has left"] : ["Privately to ", name]));
    $("say-form").classList.toggle("private", Boolean(target));
    $("text").placeholder = target ? "Private message" : "Write to everybody";
    $("text-label").textContent = target ? `Private message to ${target.name}` : "Message to everybody in the room";
    this.complain("");
    this.#on.target(target && !target.gone ? target.id : null);
  }
}
