// The connection to the gateway: one WebSocket after another, with back-off and jitter between.
//
// Phases, told to `onPhase(phase, detail)`:
//   connecting   a socket is being opened
//   open         it is open; whoever logs in says `settled()` when that worked
//   waiting      it failed or was closed; the next try comes in `detail.wait` milliseconds
//   closed       it is over until `retry()`: `detail.code` and `detail.reason` say why
//
// A socket of a browser can look open long after its network is gone. So after QUIET ms in which
// nothing was heard a ping goes out, and when nothing comes back within PATIENCE the socket is given up.

const QUIET = 25_000;
const PATIENCE = 10_000;
const TICK = 2_500;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 20_000;

// What the gateway's close codes advise: how long to wait before the first try.
const ADVICE = new Map([
  [1012, 1_500], // the gateway lets us go: spread out, another one takes us; its reason says more
  [1013, 4_000], // no worker took our events: give them a moment
  [4007, 500], // our heartbeat was missed
  [4008, 1_000], // we read too slowly
]);
// The goodbyes after which coming back by itself would be wrong or useless.
const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010]);

/** How long to wait: exponential, capped, and anywhere in its upper half so that crowds spread. */
export function backoff(failures, first = FIRST_WAIT, random = Math.random) {
  const ceiling = Math.min(LONGEST_WAIT, first * 2 ** Math.min(failures, 16));
  return Math.round(ceiling * (0.5 + random() / 2));
}

/** What a reason such as `reconnect;min=500;max=8000` says: a random wait between the two. */
export function advised(reason, random = Math.random) {
  const [verb, ...parts] = reason.split(";");
  const { min, max } = Object.fromEntries(parts.map((part) => part.split("=")));
  const [from, to] = [Number.parseInt(min, 10), Number.parseInt(max, 10)];
  if (verb !== "reconnect" || !(from >= 0 && from <= to)) return null;
  return Math.round(from + random() * (to - from));
}

/** Whether a close code asks us to come back by ourselves. */
export function comesBack(code) {
  if (ADVICE.has(code)) return true;
  return !FINAL.has(code) && code < 3000;
}

export class Connection {
  #url;
  #on;
  #socket = null;
  #failures = 0;
  #timer = 0;
  #watch = 0;
  #heard = 0;
  #asked = 0;
  #wanted = false;

  /** `on`: { phase(phase, detail), message(text), ping() -> text } */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#hurry();
    });
  }

  start() {
    this.#wanted = true;
    this.#failures = 0;
    this.#open();
  }

  /** Try at once, whatever the back-off says. */
  retry() {
    if (!this.#wanted || this.#socket) return;
    this.#open();
  }

  /** The login worked: the next trouble starts with the shortest wait again. */
  settled() {
    this.#failures = 0;
  }

  /** Says goodbye and stays away. */
  stop() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    const socket = this.#drop();
    socket?.close(1000);
  }

  /** This socket is of no use: away with it, and on with the next. */
  giveUp() {
    if (!this.#socket) return;
    this.#drop().close();
    this.#closed(1006, "");
  }

  /** Whether the text was handed to an open socket. */
  send(text) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #open() {
    clearTimeout(this.#timer);
    this.#drop()?.close();
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch {
      this.#wanted = false;
      this.#on.phase("closed", { code: 0, reason: `${this.#url} is not an address to connect to` });
      return;
    }
    this.#socket = socket;
    this.#on.phase("connecting", {});
    socket.onopen = () => {
      this.#heard = Date.now();
      this.#asked = 0;
      this.#watch = setInterval(() => this.#check(), TICK);
      this.#on.phase("open", {});
    };
    socket.onmessage = ({ data }) => {
      this.#heard = Date.now();
      this.#asked = 0;
      if (typeof data === "string") this.#on.message(data);
    };
    socket.onclose = ({ code, reason }) => {
      this.#drop();
      this.#closed(code, reason);
    };
  }

  // Forgets the socket; whatever it still reports is no longer ours.
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    clearInterval(this.#watch);
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    return socket;
  }

  #closed(code, reason) {
    if (!comesBack(code)) {
      this.#on.phase("closed", { code, reason });
      return;
    }
    const wait = (code === 1012 && advised(reason)) || backoff(this.#failures, ADVICE.get(code));
    this.#failures += 1;
    this.#on.phase("waiting", { wait, code, reason });
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  #check() {
    const now = Date.now();
    if (this.#asked && now - this.#asked > PATIENCE) {
      this.giveUp();
    } else if (!this.#asked && now - this.#heard > QUIET) {
      this.#ask();
    }
  }

  #ask() {
    this.#asked = Date.now();
    this.send(this.#on.ping());
  }

  // The network came back or the page was opened again: find out now what the socket is worth.
  #hurry() {
    if (!this.#wanted) return;
    if (this.#timer && !this.#socket) this.retry();
    else if (this.#socket?.readyState === WebSocket.OPEN && !this.#asked) this.#ask();
  }
}
