// The page of the chat example: log in, talk, whisper, see who is there.
//
// Elements that a test may rely on:
//   #login-form #name #room #join #login-error   the way in; #chat is hidden until the login worked
//   #state[data-state]     connecting | joining | connected | waiting | closed
//   #room-name             the room we are in
//   #users li[data-client-id][data-client-name]  who is here; [data-me] is us; the button inside
//                          chooses the person to write to privately; #people-count says how many
//   #log li.message[data-kind="say|whisper"][data-from][data-ref][data-by]   with .name .content
//                          [data-pending] until it came back, [data-failed] if it never will
//   #log li.notice[data-kind="login|logout|note|bus"]  joins, leaves, our own words, text from the bus
//   #target #target-clear  whom the next message is for, if not for everybody
//   #text #send #say-error the composer
//   #gateway[data-gateway], #workers .worker[data-worker][data-count]   who served us
//   #leave #retry #room-button #room-dialog #new-room
//
// The name and room of a login live in this tab's sessionStorage, so that a reload goes back in.
// The protocol is told in the head of the worker's protocol.rs.

import { Balance } from "./balance.js";
import { Connection } from "./connection.js";
import { Log } from "./log.js";
import { People } from "./people.js";

const $ = (id) => document.getElementById(id);

// Messages of ours that have not come back yet; more than OUTBOX are not taken on.
const OUTBOX = 50;
// A login that nobody answers within this is waiting for a worker.
const NO_ANSWER = 4_000;

const config = await (await fetch("config.json")).json();
const limits = config.limits;
const gateway = config.gateway ?? `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.hostname}:7272`;

const log = new Log($("log"), $("messages"), $("jump"));
const people = new People($("users"), $("more"), chooseTarget);
const balance = new Balance($("gateway"), $("workers"));
const outbox = new Map();

let login = null; // { name, room } once somebody asked to come in
let me = null; // { id, name, room } while the worker has us
let target = null; // { id, name, gone } whom we write to privately
let shownRoom = null; // the room whose messages are in the log
let unread = 0;
let noAnswer = 0;
let countdown = 0;

const connection = new Connection(gateway, {
  phase: onPhase,
  message: onText,
  ping: () => JSON.stringify({ type: "ping" }),
});

// ---- what the gateway and the worker tell us

function onPhase(phase, detail) {
  clearTimeout(noAnswer);
  if (phase !== "open") me = null;
  if (phase === "connecting") {
    show("connecting", shownRoom ? "Reconnecting…" : "Connecting…");
  } else if (phase === "open") {
    sendLogin();
  } else if (phase === "waiting") {
    const why = {
      1012: "The gateway restarts",
      1013: "No worker answers",
      4007: "The connection was lost",
      4008: "The connection was too slow",
    }[detail.code];
    show("waiting", navigator.onLine ? why ?? (shownRoom ? "The connection was lost" : "Nobody answers") : "You are offline", detail.wait);
  } else {
    const why = detail.reason || `closed with code ${detail.code}`;
    show("closed", `Disconnected: ${why}`);
  }
}

function sendLogin() {
  show("joining", "Joining…");
  connection.send(JSON.stringify({ type: "login", client_name: login.name, room_id: login.room }));
  clearTimeout(noAnswer);
  noAnswer = setTimeout(() => show("joining", "Waiting for a worker…"), NO_ANSWER);
}

function onText(text) {
  let m;
  try {
    m = JSON.parse(text);
  } catch {
    m = null;
  }
  // Anybody on the bus may send a plain line to a room; it is shown as what it is.
  if (m === null || typeof m !== "object" || typeof m.type !== "string") {
    if (shownRoom) log.notice("bus", [text]);
    return;
  }
  if (typeof m.by === "string") balance.answered(m.by);
  handlers[m.type]?.(m);
}

const handlers = {
  // The worker took us in, or somebody else came.
  login(m) {
    if (m.client_list) entered(m);
    else if (me && m.client_id !== me.id) {
      const known = people.has(m.client_id);
      people.add(m.client_id, m.client_name);
      if (!known) log.notice("login", [{ name: m.client_name }, " joined"], m.time);
      showPeople();
    }
  },
  logout(m) {
    if (!me || m.from_client_id === me.id) return;
    if (people.remove(m.from_client_id)) log.notice("logout", [{ name: m.from_client_name }, " left"], m.time);
    if (target?.id === m.from_client_id) {
      target.gone = true;
      showTarget();
    }
    showPeople();
  },
  users(m) {
    if (!me) return;
    people.reset(me.id, m.client_list ?? {}, m.total);
    showPeople();
  },
  // A gateway died with all its clients, and nobody can say goodbye for them.
  gateway_lost() {
    if (me) connection.send(JSON.stringify({ type: "users" }));
  },
  say: (m) => heard("say", m),
  whisper: (m) => heard("whisper", m),
  ping() {
    connection.send(JSON.stringify({ type: "pong" }));
  },
  error(m) {
    if (m.ref && outbox.delete(m.ref)) log.fail(m.ref, m.message);
    else if (!me) refused(m.message);
    else if (m.code === "login_first") sendLogin();
    else if ($("room-dialog").open) $("room-error").textContent = m.message;
    else $("say-error").textContent = m.message;
  },
};

function entered(m) {
  clearTimeout(noAnswer);
  const again = shownRoom === m.room_id;
  me = { id: m.client_id, name: m.client_name, room: m.room_id };
  login = { name: m.client_name, room: m.room_id };
  remember();
  connection.settled();
  balance.served(m.client_id);
  if (!again) {
    log.clear();
    outbox.clear();
    target = null;
  } else if (target && !(target.id in m.client_list)) {
    target.gone = true;
  }
  people.reset(me.id, m.client_list, m.total);
  log.notice("note", again
    ? ["Back again. What was said meanwhile is not here."]
    : ["You are in ", { name: m.room_id }, " as ", { name: m.client_name }], m.time);
  shownRoom = m.room_id;
  show("connected", "Connected");
  $("login").hidden = true;
  $("chat").hidden = false;
  $("room-name").textContent = m.room_id;
  if ($("room-dialog").open) $("room-dialog").close();
  showPeople();
  showTarget();
  showTitle();
  for (const text of outbox.values()) connection.send(text);
  if (!again && matchMedia("(hover: hover)").matches) $("text").focus();
}

function heard(kind, m) {
  if (!me || typeof m.content !== "string") return;
  const mine = m.from_client_id === me.id || outbox.has(m.ref);
  outbox.delete(m.ref);
  if (!mine && away()) {
    if (unread === 0) log.divide();
  }
  const isNew = log.message({
    kind,
    mine,
    from: m.from_client_id,
    name: m.from_client_name,
    toName: people.name(m.to_client_id),
    content: m.content,
    ref: m.ref,
    time: m.time,
    by: m.by,
  });
  if (isNew && !mine && away()) {
    unread += 1;
    showTitle();
  }
}

// ---- what the person does

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = tidy($("name").value);
  const room = tidy($("room").value);
  const wrong = wrongText("name", name, limits.name) ?? wrongText("room", room, limits.room);
  mark($("name"), wrongText("name", name, limits.name));
  mark($("room"), wrongText("room", room, limits.room));
  $("login-error").textContent = wrong ?? "";
  if (wrong) {
    (wrongText("name", name, limits.name) ? $("name") : $("room")).focus();
    return;
  }
  enter({ name, room });
});

function enter(as) {
  login = as;
  $("join").disabled = true;
  connection.start();
}

function refused(message) {
  connection.stop();
  login = null;
  forget();
  leaveView();
  $("login-error").textContent = message;
}

$("say-form").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});

function say() {
  const content = $("text").value.trim();
  const length = [...content].length;
  let wrong = "";
  if (length === 0) {
    $("text").focus();
    return;
  }
  if (length > limits.content) wrong = `A message has at most ${limits.content} characters; this one has ${length}.`;
  else if (target?.gone) wrong = `${target.name} has left, so this was not sent.`;
  else if (outbox.size >= OUTBOX) wrong = "Too many messages are still waiting to be sent.";
  $("say-error").textContent = wrong;
  if (wrong) return;

  const ref = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const message = target
    ? { type: "whisper", to_client_id: target.id, content, ref }
    : { type: "say", content, ref };
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
  $("text").value = "";
  fit();
  $("text").focus();
}

$("text").addEventListener("keydown", (event) => {
  // While an input method composes, Enter is its own.
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    say();
  } else if (event.key === "Escape" && target) {
    clearTarget();
  }
});
$("text").addEventListener("input", () => {
  $("say-error").textContent = "";
  fit();
});

function fit() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
  const left = limits.content - [...text.value.trim()].length;
  $("count").hidden = left > 100;
  $("count").textContent = left;
  $("count").classList.toggle("over", left < 0);
}

function chooseTarget(id, name) {
  target = { id, name, gone: false };
  showTarget();
  drawer(false);
  $("text").focus();
}

function clearTarget() {
  target = null;
  showTarget();
  $("text").focus();
}
$("target-clear").addEventListener("click", clearTarget);

$("room-button").addEventListener("click", () => {
  $("room-error").textContent = "";
  $("new-room").value = "";
  const others = rooms().filter((room) => room !== shownRoom);
  $("room-list").replaceChildren(...others.map((room) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = room;
    button.dir = "auto";
    button.addEventListener("click", () => moveTo(room));
    return button;
  }));
  $("room-dialog").showModal();
  $("new-room").focus();
});
$("room-cancel").addEventListener("click", () => $("room-dialog").close());
$("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  moveTo(tidy($("new-room").value));
});

function moveTo(room) {
  let wrong = wrongText("room", room, limits.room);
  if (!wrong && !me) wrong = "Not connected at the moment.";
  mark($("new-room"), wrong);
  $("room-error").textContent = wrong ?? "";
  if (wrong) return;
  if (room === me.room) {
    $("room-dialog").close();
    return;
  }
  connection.send(JSON.stringify({ type: "login", client_name: me.name, room_id: room }));
}

$("leave").addEventListener("click", () => {
  connection.stop();
  login = me = null;
  forget();
  leaveView();
  $("name").focus();
});

$("retry").addEventListener("click", () => {
  if ($("state").dataset.state === "closed") connection.start();
  else connection.retry();
});

$("people-button").addEventListener("click", () => drawer(!drawn()));
$("people-close").addEventListener("click", () => drawer(false));
$("shade").addEventListener("click", () => drawer(false));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drawn()) drawer(false);
});

$("balance").addEventListener("click", () => {
  const on = $("balance").getAttribute("aria-pressed") !== "true";
  $("balance").setAttribute("aria-pressed", String(on));
  $("log").classList.toggle("by-shown", on);
});

// ---- what is shown

function show(state, text, wait = 0) {
  clearInterval(countdown);
  $("state").dataset.state = state;
  if ($("state-text").textContent !== text) $("state-text").textContent = text;
  $("retry").hidden = state !== "waiting" && state !== "closed";
  $("retry").textContent = state === "closed" ? "Connect again" : "Try now";
  $("join").disabled = state !== "waiting" && state !== "closed";
  const until = Date.now() + wait;
  const tick = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    $("state-wait").textContent = state === "waiting" && seconds > 0 ? ` · next try in ${seconds} s` : "";
    $("login-state").textContent = shownRoom ? "" : `${text}${$("state-wait").textContent}`;
  };
  tick();
  if (state === "waiting") countdown = setInterval(tick, 500);
}

function showPeople() {
  $("people-count").textContent = people.count;
  people.mark(target && !target.gone ? target.id : null);
}

function showTarget() {
  $("target").hidden = !target;
  $("target").classList.toggle("gone", Boolean(target?.gone));
  const name = document.createElement("bdi");
  name.textContent = target?.name ?? "";
  $("target-text").replaceChildren(...(target?.gone ? [name, " has left"] : ["Privately to ", name]));
  $("say-form").classList.toggle("private", Boolean(target));
  $("text").placeholder = target ? `Only ${target.name} will see this` : "Write to everybody";
  $("text-label").textContent = target ? `Private message to ${target.name}` : "Message to everybody in the room";
  $("say-error").textContent = "";
  people.mark(target && !target.gone ? target.id : null);
}

function showTitle() {
  const title = shownRoom ? `${shownRoom} · Gatebus chat` : "Gatebus chat";
  document.title = unread ? `(${unread}) ${title}` : title;
  const dot = unread ? "<circle cx='25' cy='7' r='7' fill='#d9480f'/>" : "";
  const icon = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><path d='M4 5h24v17H16l-7 6v-6H4z' fill='#0b6e4f'/>${dot}</svg>`;
  $("icon").href = `data:image/svg+xml,${encodeURIComponent(icon)}`;
}

function leaveView() {
  clearTimeout(noAnswer);
  clearInterval(countdown);
  shownRoom = null;
  target = null;
  unread = 0;
  outbox.clear();
  log.clear();
  drawer(false);
  if ($("room-dialog").open) $("room-dialog").close();
  $("chat").hidden = true;
  $("login").hidden = false;
  $("join").disabled = false;
  $("login-state").textContent = "";
  showTitle();
}

const drawn = () => $("people-button").getAttribute("aria-expanded") === "true";

/** The list of people as a drawer; on a wide window it is always there. */
function drawer(open) {
  if (drawn() === open) return;
  $("people-button").setAttribute("aria-expanded", String(open));
  $("people").classList.toggle("open", open);
  $("shade").hidden = !open;
  if (open) {
    if (me) connection.send(JSON.stringify({ type: "users" }));
    $("people-close").focus();
  } else if ($("people").contains(document.activeElement)) {
    $("people-button").focus();
  }
}

const away = () => document.hidden || !document.hasFocus();
function seen() {
  if (away() || unread === 0) return;
  unread = 0;
  showTitle();
}
addEventListener("focus", seen);
document.addEventListener("visibilitychange", seen);

// On phones the keyboard covers the page instead of shrinking it; keep the composer above it.
const viewport = globalThis.visualViewport;
viewport?.addEventListener("resize", () => {
  document.documentElement.style.setProperty("--height", `${viewport.height}px`);
  if (viewport.scale === 1) scrollTo(0, 0);
});

// ---- small things

const tidy = (text) => text.trim().replace(/\s+/g, " ");

function wrongText(what, text, limit) {
  const length = [...text].length;
  if (length === 0) return `Please give a ${what}.`;
  if (length > limit) return `A ${what} has at most ${limit} characters; this one has ${length}.`;
  return null;
}

function mark(input, wrong) {
  input.setAttribute("aria-invalid", String(Boolean(wrong)));
}

function stored(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
}

function store(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing still chats.
  }
}

function rooms() {
  const kept = stored(localStorage, "chat-rooms");
  const known = Array.isArray(kept) ? kept.filter((room) => typeof room === "string") : [];
  return [...new Set([...known, "lobby"])];
}

function remember() {
  store(sessionStorage, "chat-login", login);
  store(localStorage, "chat-name", login.name);
  store(localStorage, "chat-rooms", [login.room, ...rooms().filter((room) => room !== login.room)].slice(0, 6));
  history.replaceState(null, "", `#${encodeURIComponent(login.room)}`);
}

function forget() {
  store(sessionStorage, "chat-login", null);
}

// ---- begin

function roomOfAddress() {
  try {
    return tidy(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return "";
  }
}

$("name").value = stored(localStorage, "chat-name") ?? "";
$("room").value = roomOfAddress() || rooms()[0];
for (const room of rooms()) $("rooms").append(new Option(room, room));
showTitle();
const before = stored(sessionStorage, "chat-login");
if (before?.name && before?.room) {
  $("name").value = before.name;
  $("room").value = before.room;
  enter(before);
} else {
  ($("name").value ? $("room") : $("name")).focus();
}
