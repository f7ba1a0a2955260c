// What the browser remembers: the login of this tab, so that a reload goes back in,
// and the name and the rooms of this browser, so that nobody types them twice.

const ROOMS = 6;
const FIRST_ROOM = "lobby";

function get(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
}

function set(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing still chats.
  }
}

/** The login that this tab was in, if it was. */
export function tabLogin() {
  const login = get(sessionStorage, "chat-login");
  return typeof login?.name === "string" && typeof login.room === "string" ? login : null;
}

export function lastName() {
  const name = get(localStorage, "chat-name");
  return typeof name === "string" ? name : "";
}

/** The rooms of before, the last one first; never none. */
export function rooms() {
  const kept = get(localStorage, "chat-rooms");
  const known = Array.isArray(kept) ? kept.filter((room) => typeof room === "string") : [];
  return [...new Set([...known, FIRST_ROOM])];
}

export function remember(login) {
  set(sessionStorage, "chat-login", login);
  set(localStorage, "chat-name", login.name);
  set(localStorage, "chat-rooms", [login.room, ...rooms().filter((room) => room !== login.room)].slice(0, ROOMS));
  history.replaceState(null, "", `#${encodeURIComponent(login.room)}`);
}

/** Forgets the login of this tab. */
export function forget() {
  set(sessionStorage, "chat-login", null);
}

/** The room that the page's address names, as in `/#lobby`; a link into a room. */
export function addressRoom() {
  try {
    return decodeURIComponent(location.hash.slice(1)).trim();
  } catch {
    return "";
  }
}
