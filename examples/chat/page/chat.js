// The page of the chat example: log in, talk, whisper, see who is there.
//
// Elements that a test may rely on:
//   #login-form #name #room #join #login-error   the way in; #chat is hidden until the login worked
//   #state[data-state]     connecting | joining | connected | waiting | closed
//   #room-name             the room we are in
//   #users li[data-client-id][data-client-name]  who is here; [data-me] is us; the button inside
//                          chooses the person to write to privately; #people-count says how many
//   #log li.message[data-kind="say|whisper"][data-from][data-ref][data-by]   with .name .content
//                          .mine if it is ours, [data-pending] until it came back,
//                          [data-failed] if it never will
//   #log li.notice[data-kind="login|logout|note|bus"]  joins, leaves, our own words, text from the bus
//   #target #target-clear  whom the next message is for, if not for everybody
//   #text #send #say-error the composer
//   #gateway[data-gateway], #workers .worker[data-worker][data-count]   who served us
//   #leave #retry #room-button #room-dialog #new-room
//
// The messages between page and worker are told in the head of the worker's protocol.rs.
// A login lives in this tab's sessionStorage, so that a reload goes back in.

import { Balance } from "./balance.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { mark, tidy, wrong } from "./limits.js";
import { Log } from "./log.js";
import * as memory from "./memory.js";
import { People } from "./people.js";
import { RoomDialog } from "./room.js";

const $ = (id) => document.getElementById(id);

// Messages of ours that have not come back yet; more than OUTBOX are not taken on.
const OUTBOX = 50;
// Messages that are kept until a login is answered; the oldest go first.
const EARLY = 1_000;
// A login that nobody answered for so long waits for a worker, and says so; the gateway closes with
// 1013 when it has waited long enough itself. Nothing at all comes only if the login went wrong.
const NO_ANSWER = 4_000;
const NO_HOPE = 60_000;

// Why the gateway let go of us, where its code says so.
const REASONS = new Map([
  [1012, "The gateway restarts"],
  [1013, "No worker answers"],
  [4007, "The connection was lost"],
  [4008, "The connection was too slow"],
]);

// The messages we understand, and the texts that each must have.
const TEXTS = new Map([
  ["login", ["client_id", "client_name", "room_id"]],
  ["logout", ["from_client_id", "from_client_name", "room_id"]],
  ["say", ["from_client_id", "from_client_name", "room_id", "content"]],
  ["whisper", ["from_client_id", "from_client_name", "to_client_id", "content"]],
  ["users", []],
  ["gateway_lost", ["gateway"]],
  ["error", ["message"]],
  ["ping", []],
]);
const LATEST = 8.64e15; // as far as a Date goes

const config = await (await fetch("config.json")).json();
const secure = location.protocol === "https:";
const url = config.gateway ?? `${secure ? "wss" : "ws"}://${location.hostname}:7272`;

const log = new Log($("log"), $("messages"), $("jump"));
const balance = new Balance($("gateway"), $("workers"));
const composer = new Composer(config.limits.content, { send: say, target: (id) => people.mark(id) });
const people = new People($("users"), $("more"), (id, name) => {
  drawer(false);
  composer.choose({ id, name });
});
const dialog = new RoomDialog(config.limits.room, moveTo);
const connection = new Connection(url, { phase: onPhase, message: onText, ping: () => '{"type":"ping"}' });
const outbox = new Map();

let login = null; // { name, room }, once somebody asked to come in
let me = null; // { id, name, room }, while a worker has taken us in
let early = null; // what came while a login waits for its answer, which replaces the list of people
let shownRoom = null; // the room whose messages are in the log
let unread = 0;
let noAnswer = 0;
let countdown = 0;

const tell = (message) => connection.send(JSON.stringify(message));

// ---- what the gateway and the workers tell us

function onPhase(phase, detail) {
  clearTimeout(noAnswer);
  me = early = null;
  if (phase === "connecting") {
    show("connecting", shownRoom ? "Reconnecting…" : "Connecting…");
  } else if (phase === "open") {
    sendLogin();
  } else if (phase === "waiting") {
    const why = REASONS.get(detail.code) ?? (shownRoom ? "The connection was lost" : "Nobody answers");
    show("waiting", navigator.onLine ? why : "You are offline", detail.wait);
  } else {
    show("closed", `Disconnected: ${detail.reason || `closed with code ${detail.code}`}`);
  }
}

function sendLogin() {
  show("joining", "Joining…");
  early = [];
  tell({ type: "login", client_name: login.name, room_id: login.room });
  clearTimeout(noAnswer);
  noAnswer = setTimeout(() => {
    show("joining", "Waiting for a worker…");
    noAnswer = setTimeout(() => connection.giveUp(), NO_HOPE - NO_ANSWER);
  }, NO_ANSWER);
}

function onText(text) {
  let m = null;
  try {
    m = JSON.parse(text);
  } catch {
    // Not ours: see below.
  }
  if (typeof m?.type !== "string") {
    // Anybody on the bus may send a plain line to a room; it is shown as what it is.
    if (me) log.notice("bus", [text.slice(0, config.limits.content)]);
    return;
  }
  if (typeof m.by === "string") balance.answered(m.by);
  if (!TEXTS.get(m.type)?.every((key) => typeof m[key] === "string")) return;
  if (typeof m.ref !== "string") m.ref = undefined;
  if (!(Math.abs(m.time) <= LATEST)) m.time = Date.now();
  if (typeof m.client_list !== "object") m.client_list = null;
  onMessage(m);
}

function onMessage(m) {
  const answer = m.client_list || m.type === "error" || m.type === "ping";
  const here = m.client_list || m.room_id === undefined || m.room_id === me?.room;
  if (early && !answer) {
    early.push(m);
    if (early.length > EARLY) early.shift();
  } else if (here) {
    handlers[m.type](m);
  }
}

// What came before the answer to a login counts after it: it may be newer than the answer's list.
function settle() {
  const waiting = early ?? [];
  early = null;
  waiting.forEach(onMessage);
}

const handlers = {
  // We are in; or somebody else came.
  login(m) {
    if (m.client_list) {
      entered(m);
    } else if (me && m.client_id !== me.id) {
      if (!people.has(m.client_id)) log.notice("login", [{ name: m.client_name }, " joined"], m.time);
      people.add(m.client_id, m.client_name);
      showPeople();
    }
  },
  logout(m) {
    if (!me || m.from_client_id === me.id) return;
    if (people.remove(m.from_client_id)) log.notice("logout", [{ name: m.from_client_name }, " left"], m.time);
    composer.gone(m.from_client_id);
    showPeople();
  },
  users(m) {
    if (!me || !m.client_list) return;
    people.reset(me.id, m.client_list, m.total);
    showPeople();
  },
  // A gateway died with all its clients, and nobody says goodbye for them.
  gateway_lost(m) {
    if (!me || me.id.startsWith(m.gateway)) return;
    people.removeGateway(m.gateway);
    if (composer.target && !people.has(composer.target.id)) composer.gone(composer.target.id);
    showPeople();
  },
  say(m) {
    heard("say", m);
    // Who talks is here, whatever we were told before.
    if (me && !people.has(m.from_client_id)) {
      people.add(m.from_client_id, m.from_client_name);
      showPeople();
    }
  },
  whisper: (m) => heard("whisper", m),
  ping: () => tell({ type: "pong" }),
  error(m) {
    if (m.ref && outbox.delete(m.ref)) {
      log.fail(m.ref, m.message);
    } else if (early && !me) {
      refused(m.message);
    } else if (me) {
      if (dialog.isOpen) dialog.complain(m.message);
      else composer.complain(m.message);
      settle();
    }
  },
};

function entered(m) {
  clearTimeout(noAnswer);
  connection.settled();
  balance.served(m.client_id);
  const again = shownRoom === m.room_id;
  shownRoom = m.room_id;
  me = { id: m.client_id, name: m.client_name, room: m.room_id };
  login = { name: me.name, room: me.room };
  memory.remember(login);
  people.reset(me.id, m.client_list, m.total);
  if (again) {
    if (composer.target && !people.has(composer.target.id)) composer.gone(composer.target.id);
    log.notice("note", ["Back again. What was said meanwhile is not here."], m.time);
  } else {
    log.clear();
    outbox.clear();
    composer.reset();
    log.notice("note", ["You are in ", { name: me.room }, " as ", { name: me.name }], m.time);
  }
  $("room-name").textContent = me.room;
  $("login").hidden = true;
  $("chat").hidden = false;
  dialog.close();
  show("connected", "Connected");
  showPeople();
  showTitle();
  // What never came back goes out again; whoever has it already knows it by its ref.
  for (const text of outbox.values()) connection.send(text);
  settle();
  if (!again && matchMedia("(hover: hover)").matches) composer.focus();
}

function heard(kind, m) {
  if (!me) return;
  const mine = m.from_client_id === me.id || outbox.has(m.ref);
  outbox.delete(m.ref);
  const unseen = !mine && isAway();
  const isNew = log.message(
    {
      kind,
      mine,
      from: m.from_client_id,
      name: m.from_client_name,
      toName: people.name(m.to_client_id),
      content: m.content,
      ref: m.ref,
      time: m.time,
      by: m.by,
    },
    unseen && unread === 0,
  );
  if (isNew && unseen) {
    unread += 1;
    showTitle();
  }
}

// ---- what the person does

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = tidy($("name").value);
  const room = tidy($("room").value);
  if (!mark($("name"), $("login-error"), wrong("name", name, config.limits.name))) return;
  if (!mark($("room"), $("login-error"), wrong("room", room, config.limits.room))) return;
  enter({ name, room });
});

function enter(as) {
  login = as;
  connection.start();
}

function leave() {
  connection.stop();
  memory.forget();
  clearTimeout(noAnswer);
  login = me = early = shownRoom = null;
  unread = 0;
  outbox.clear();
  log.clear();
  composer.reset();
  drawer(false);
  dialog.close();
  show("closed", "");
  $("chat").hidden = true;
  $("login").hidden = false;
  $("name").focus();
  showTitle();
}
$("leave").addEventListener("click", leave);

function refused(message) {
  leave();
  $("login-error").textContent = message;
}

function say(content, target) {
  if (outbox.size >= OUTBOX) return "Too many messages are still waiting to be sent.";
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const ref = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const message = target ? { type: "whisper", to_client_id: target.id, content, ref } : { type: "say", content, ref };
  const text = JSON.stringify(message);
  outbox.set(ref, text);
  log.message({
    kind: message.type,
    mine: true,
    pending: true,
    from: "me",
    name: login.name,
    toName: target?.name,
    content,
    ref,
    time: Date.now(),
  });
  if (me) connection.send(text);
  return "";
}

function moveTo(room) {
  if (!me) return "Not connected at the moment.";
  if (room === me.room) dialog.close();
  if (early || room === me.room) return "";
  early = [];
  tell({ type: "login", client_name: me.name, room_id: room });
  return "";
}

$("retry").addEventListener("click", () => {
  if ($("state").dataset.state === "closed") connection.start();
  else connection.retry();
});

$("people-button").addEventListener("click", () => drawer(!isDrawn()));
$("people-close").addEventListener("click", () => drawer(false));
$("shade").addEventListener("click", () => drawer(false));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") drawer(false);
});

$("balance").addEventListener("click", () => {
  const on = $("balance").getAttribute("aria-pressed") !== "true";
  $("balance").setAttribute("aria-pressed", String(on));
  $("log").classList.toggle("by-shown", on);
});

// ---- what is shown

function show(state, text, wait = 0) {
  clearInterval(countdown);
  const idle = state === "waiting" || state === "closed";
  $("state").dataset.state = state;
  $("retry").hidden = !idle;
  $("retry").textContent = state === "closed" ? "Connect again" : "Try now";
  $("join").disabled = !idle;
  if ($("state-text").textContent !== text) $("state-text").textContent = text;
  const until = Date.now() + wait;
  const tick = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    $("state-wait").textContent = seconds > 0 ? `· next try in ${seconds} s` : "";
    $("login-wait").textContent = $("state-wait").textContent;
  };
  $("login-state").textContent = text;
  tick();
  if (wait > 0) countdown = setInterval(tick, 500);
}

function showPeople() {
  $("people-count").textContent = people.count;
}

function showTitle() {
  const title = shownRoom ? `${shownRoom} · Gatebus chat` : "Gatebus chat";
  document.title = unread ? `(${unread}) ${title}` : title;
  const dot = unread ? "<circle cx='25' cy='7' r='7' fill='#d9480f'/>" : "";
  const icon = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><path d='M4 5h24v17H16l-7 6v-6H4z' fill='#0b6e4f'/>${dot}</svg>`;
  $("icon").href = `data:image/svg+xml,${encodeURIComponent(icon)}`;
}

const isDrawn = () => $("people-button").getAttribute("aria-expanded") === "true";

// The list of people as a drawer; on a wide window it is always there.
function drawer(open) {
  if (isDrawn() === open) return;
  $("people-button").setAttribute("aria-expanded", String(open));
  $("people").classList.toggle("open", open);
  $("shade").hidden = !open;
  if (open) {
    if (me) tell({ type: "users" });
    $("people-close").focus();
  } else if ($("people").contains(document.activeElement)) {
    $("people-button").focus();
  }
}

const isAway = () => document.hidden || !document.hasFocus();

function seen() {
  if (isAway() || unread === 0) return;
  unread = 0;
  showTitle();
}
addEventListener("focus", seen);
document.addEventListener("visibilitychange", seen);

// On some phones the keyboard covers the page instead of shrinking it: keep the composer above it.
const viewport = globalThis.visualViewport;
viewport?.addEventListener("resize", () => {
  if (viewport.scale !== 1) return;
  document.documentElement.style.setProperty("--height", `${viewport.height}px`);
  scrollTo(0, 0);
});

// ---- begin

for (const room of memory.rooms()) $("rooms").append(new Option(room, room));
const before = memory.tabLogin();
$("name").value = before?.name ?? memory.lastName();
$("room").value = before?.room ?? (memory.addressRoom() || memory.rooms()[0]);
composer.reset();
showTitle();
if (before) enter(before);
else ($("name").value ? $("room") : $("name")).focus();
