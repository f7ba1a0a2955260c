// Pieces of the page. What people wrote becomes text here, never markup.

/** An element with a class and text. */
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// A steady hue for a name.
function hue(text) {
  let hash = 2166136261;
  for (const c of text) hash = Math.imul(hash ^ c.codePointAt(0), 16777619);
  return ((Math.imul(hash, 0x9e3779b1) >>> 0) / 2 ** 32) * 360;
}

/** The round picture of a name: its initials on its colour. */
export function avatar(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const initials = words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
  const made = element("span", "avatar", initials || "?");
  made.style.setProperty("--hue", hue(name));
  made.setAttribute("aria-hidden", "true");
  return made;
}
