// The foot of the page: which gateway holds this connection, and which workers answered how often.

import { element } from "./element.js";

const SHOWN = 6;
const HUES = [255, 45, 150, 330, 200, 100];

const hues = new Map();

/** The hue of a worker on this page: the next free one when it is first seen. */
export function workerHue(id) {
  if (!hues.has(id)) hues.set(id, HUES[hues.size % HUES.length]);
  return hues.get(id);
}

export class Balance {
  #gateway;
  #workers;
  #answers = new Map();

  constructor(gateway, workers) {
    this.#gateway = gateway;
    this.#workers = workers;
  }

  /** The first twelve digits of a client id name its gateway. */
  served(clientId) {
    const id = clientId.slice(0, 12);
    this.#gateway.dataset.gateway = id;
    this.#gateway.textContent = `gateway ${id.slice(0, 6)}`;
    this.#gateway.title = `gateway ${id}`;
  }

  /** One more answer of a worker. */
  answered(worker) {
    this.#answers.set(worker, (this.#answers.get(worker) ?? 0) + 1);
    const all = [...this.#answers].sort(([a], [b]) => (a < b ? -1 : 1));
    const most = all.sort(([, a], [, b]) => b - a).slice(0, SHOWN).sort(([a], [b]) => (a < b ? -1 : 1));
    this.#workers.replaceChildren(...most.flatMap(([id, count]) => {
      const item = element("span", "worker", `worker ${id.slice(0, 4)} `);
      item.dataset.worker = id;
      item.dataset.count = count;
      item.style.setProperty("--hue", workerHue(id));
      item.append(element("b", "", `×${count}`));
      return [item, " "];
    }));
    if (all.length > SHOWN) this.#workers.append(element("span", "", `and ${all.length - SHOWN} more`));
  }
}
