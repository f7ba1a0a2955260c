// The page: a login and data of its own back end, and a connection by which the back end reaches it.
//
//   the worker says    {"type":"init","client_id":"…","secret":"…"}      when the connection is there
//   the page posts     {"client_id":"…","secret":"…"}  to /bind          if somebody is logged in
//   the back end says  {"type":"orders","user":"ann","orders":[…]}       to this connection, once it is bound
//                      {"type":"order","order":{…}}                      to all connections of the uid

const STEPS = ["Ordered", "Packed", "On its way", "Delivered"];
const STATES = {
  connecting: "Connecting…",
  binding: "Telling the shop that it is you…",
  bound: "Live: what happens appears by itself",
  waiting: "Not connected; trying again",
  resting: "Resting: you have many newer pages. Come back here, and it goes on",
};
const FIRST_WAIT = 500;
const LONGEST_WAIT = 20_000;

const at = (id) => document.getElementById(id);

let socket = null;
let init = null;
let user = null;
let failures = 0;
let timer = 0;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// The back end.

/** Asks the back end; an error is thrown with what it says and its status. */
async function ask(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, body === undefined ? {} : post);
  const text = await answer.text();
  const data = text ? JSON.parse(text) : {};
  if (!answer.ok) throw Object.assign(new Error(data.error ?? answer.statusText), { status: answer.status });
  return data;
}

// The connection.

function show(state) {
  at("state").dataset.state = state;
  at("state-text").textContent = STATES[state];
}

async function connect() {
  clearTimeout(timer);
  disconnect();
  show("connecting");
  const mine = (socket = new WebSocket(gateway));
  mine.onmessage = ({ data }) => hear(JSON.parse(data));
  mine.onclose = ({ code, reason }) => {
    if (mine !== socket) return;
    disconnect();
    // 4001 is the back end's own: this login has ended, here or in another tab.
    if (code === 4001) return leave();
    // So is 4002: newer pages have taken this one's place. It takes it back when somebody looks.
    if (code === 4002) return show("resting");
    again(code === 1012 ? advised(reason) : null);
  };
}

function disconnect() {
  const old = socket;
  socket = init = null;
  at("client").textContent = "";
  delete at("client").dataset.client;
  old?.close(1000);
}

/** After the pause that was advised, or one that grows, and that is never the same for two. */
function again(wait) {
  show("waiting");
  const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(failures, 16));
  failures += 1;
  timer = setTimeout(connect, wait ?? ceiling * (0.5 + Math.random() / 2));
}

/** A gateway that lets its clients go says when to come back: `reconnect;min=500;max=8000`. */
function advised(reason) {
  const found = /^reconnect;min=(\d+);max=(\d+)/.exec(reason);
  return found && Number(found[1]) + Math.random() * (found[2] - found[1]);
}

function hear(news) {
  if (news.type === "init") {
    init = { client_id: news.client_id, secret: news.secret };
    at("client").textContent = `client ${news.client_id}`;
    at("client").dataset.client = news.client_id;
    bind();
  } else if (news.type === "orders" && news.user === user) {
    failures = 0;
    show("bound");
    at("orders").replaceChildren(...news.orders.map(card));
  } else if (news.type === "order") {
    const old = at("orders").querySelector(`[data-order="${CSS.escape(news.order.id)}"]`);
    const fresh = card(news.order);
    fresh.classList.add("fresh");
    const focused = old?.contains(document.activeElement);
    if (old) old.replaceWith(fresh);
    else at("orders").append(fresh);
    if (focused) fresh.querySelector("button").focus();
  }
}

/** Tells the back end which connection is ours. */
async function bind() {
  const mine = init;
  show("binding");
  try {
    await ask("/bind", mine);
  } catch (error) {
    if (mine !== init) return;
    if (error.status === 401) return leave();
    // The connection may be gone, or the back end away: a new connection has a new secret.
    disconnect();
    again();
  }
}

// The page.

function card(order) {
  const made = element("li", "order");
  made.dataset.order = order.id;
  made.dataset.step = order.step;
  const title = element("p", "title");
  title.append(element("span", "what", order.what), element("span", "number", `No. ${order.id}`));
  const steps = element("ol", "steps");
  STEPS.forEach((name, step) => {
    const item = element("li", step <= order.step ? "done" : "", name);
    if (step === order.step) item.setAttribute("aria-current", "step");
    steps.append(item);
  });
  const last = order.step + 1 >= STEPS.length;
  const button = element("button", "", last ? "Order it again" : `Next: ${STEPS[order.step + 1].toLowerCase()}`);
  button.type = "button";
  button.onclick = () => advance(order.id, button);
  made.append(title, steps, button);
  return made;
}

async function advance(order, button) {
  button.disabled = true;
  look();
  at("shop-error").textContent = "";
  try {
    // What comes of it arrives by the connection, as on all other pages.
    await ask("/advance", { order });
  } catch (error) {
    if (error.status === 401) return leave();
    at("shop-error").textContent = `That did not work: ${error.message}.`;
  } finally {
    button.disabled = false;
  }
}

function enter(name) {
  user = name;
  failures = 0;
  at("user").textContent = name;
  at("orders").replaceChildren();
  at("shop-error").textContent = "";
  at("login").hidden = true;
  at("shop").hidden = false;
  connect();
}

function leave() {
  user = null;
  clearTimeout(timer);
  disconnect();
  at("orders").replaceChildren();
  at("shop").hidden = true;
  at("login").hidden = false;
  at("password").value = "";
  at(at("name").value ? "password" : "name").focus();
}

at("login-form").onsubmit = async (event) => {
  event.preventDefault();
  at("enter").disabled = true;
  at("login-error").textContent = "";
  const name = at("name").value.trim().toLowerCase();
  try {
    await ask("/login", { name, password: at("password").value });
    enter(name);
  } catch (error) {
    at("login-error").textContent = `That did not work: ${error.message}.`;
    at("password").select();
  } finally {
    at("enter").disabled = false;
  }
};

at("leave").onclick = async () => {
  try {
    await ask("/logout", {});
    leave();
  } catch (error) {
    at("shop-error").textContent = `That did not work: ${error.message}.`;
  }
};

/** Somebody looks at the page, so it is to be live. */
function look() {
  if (!document.hidden && user && !socket) connect();
}
document.addEventListener("visibilitychange", look);
window.addEventListener("focus", look);

const config = await ask("/config.json");
const gateway = config.gateway ?? `${location.protocol === "https:" ? "wss" : "ws"}://${location.hostname}:7272`;
at("backend").textContent = `back end in ${config.backend}`;
const me = await ask("/me");
if (me.name) enter(me.name);
else leave();
