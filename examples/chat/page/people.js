// The people of the room, and whom the next message is for.
//
// Two people may have the same name (somebody who comes back is there twice until the old
// connection is noticed to be gone), so those get the end of their client id beside it.

import { avatar, element } from "./element.js";

export class People {
  #list;
  #more;
  #choose;
  #names = new Map();
  #items = new Map();
  #extra = 0;
  #me = "";
  #target = null;

  /** `choose(id, name)` is called when somebody is tapped. */
  constructor(list, more, choose) {
    this.#list = list;
    this.#more = more;
    this.#choose = choose;
  }

  get count() {
    return this.#names.size + this.#extra;
  }

  has(id) {
    return this.#names.has(id);
  }

  name(id) {
    return this.#names.get(id) ?? "somebody";
  }

  /** The whole list anew: `names` maps client ids to names, `total` counts those left out too. */
  reset(me, names, total) {
    this.#me = me;
    this.#names = new Map(Object.entries(names).filter(([, name]) => typeof name === "string"));
    this.#extra = Math.max(0, (Number.isInteger(total) ? total : 0) - this.#names.size);
    this.#draw();
  }

  add(id, name) {
    this.#names.set(id, name);
    this.#draw();
  }

  /** Takes somebody out; says whether they were in. */
  remove(id) {
    const was = this.#names.delete(id);
    if (!was && this.#extra > 0) this.#extra -= 1;
    this.#draw();
    return was;
  }

  /** Takes out all whose gateway is gone: the first twelve digits of a client id name it. */
  removeGateway(gateway) {
    for (const id of this.#names.keys()) {
      if (id.startsWith(gateway)) this.#names.delete(id);
    }
    this.#draw();
  }

  /** Marks whom we write to privately, or nobody. */
  mark(id) {
    this.#target = id;
    this.#draw();
  }

  // Items are kept and moved as little as possible, so that the focus stays where it is.
  #draw() {
    const names = [...this.#names];
    const times = new Map();
    for (const [, name] of names) times.set(name, (times.get(name) ?? 0) + 1);
    names.sort(([a, an], [b, bn]) => (b === this.#me) - (a === this.#me) || an.localeCompare(bn) || (a < b ? -1 : 1));
    for (const [id, item] of this.#items) {
      if (this.#names.get(id) === item.dataset.clientName) continue;
      item.remove();
      this.#items.delete(id);
    }
    names.forEach(([id, name], at) => {
      let item = this.#items.get(id);
      if (!item) {
        item = this.#item(id, name);
        this.#items.set(id, item);
      }
      item.querySelector(".twin").textContent = times.get(name) > 1 ? id.slice(-4) : "";
      item.querySelector("button")?.setAttribute("aria-pressed", String(id === this.#target));
      if (this.#list.children[at] !== item) this.#list.insertBefore(item, this.#list.children[at] ?? null);
    });
    this.#more.hidden = this.#extra === 0;
    this.#more.textContent = `and ${this.#extra} more`;
  }

  #item(id, name) {
    const item = element("li");
    item.dataset.clientId = id;
    item.dataset.clientName = name;
    const mine = id === this.#me;
    const row = element(mine ? "span" : "button", "person");
    row.append(avatar(name), element("bdi", "name", name), element("span", "twin"));
    if (mine) {
      item.dataset.me = "";
      row.append(element("span", "you", "you"));
    } else {
      row.type = "button";
      row.addEventListener("click", () => this.#choose(id, name));
    }
    item.append(row);
    return item;
  }
}
