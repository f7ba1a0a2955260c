// The dialog in which one goes to another room.

import { mark, tidy, wrong } from "./limits.js";
import { element } from "./element.js";
import { rooms } from "./memory.js";

const $ = (id) => document.getElementById(id);

export class RoomDialog {
  #limit;
  #move;

  /** `move(room)` goes there, and returns what is wrong, or "". */
  constructor(limit, move) {
    this.#limit = limit;
    this.#move = move;
    $("room-button").addEventListener("click", () => this.#open());
    $("room-cancel").addEventListener("click", () => this.close());
    $("room-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go(tidy($("new-room").value));
    });
  }

  get isOpen() {
    return $("room-dialog").open;
  }

  close() {
    if (this.isOpen) $("room-dialog").close();
  }

  complain(text) {
    mark($("new-room"), $("room-error"), text);
  }

  #open() {
    this.complain("");
    $("new-room").value = "";
    const others = rooms().filter((room) => room !== $("room-name").textContent);
    $("room-list").replaceChildren(...others.map((room) => {
      const button = element("button", "", room);
      button.type = "button";
      button.dir = "auto";
      button.addEventListener("click", () => this.#go(room));
      return button;
    }));
    $("room-dialog").showModal();
    $("new-room").focus();
  }

  #go(room) {
    this.complain(wrong("room", room, this.#limit) || this.#move(room));
  }
}
