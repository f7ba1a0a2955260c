// What a name, a room or a message may be. The worker has the last word; this only answers sooner.

/** Without the blanks that nobody sees. */
export const tidy = (text) => text.trim().replace(/\s+/g, " ");

/** As the worker counts: characters, not the halves of one. */
export const length = (text) => [...text].length;

/** What is wrong with a text, in words for the person, or an empty text. */
export function wrong(what, text, limit) {
  const long = length(text);
  if (long === 0) return `Please give a ${what}.`;
  if (long > limit) return `A ${what} has at most ${limit} characters; this one has ${long}.`;
  return "";
}

/** Shows what is wrong with an input, or that nothing is; says whether it is fine. */
export function mark(input, complaint, text) {
  input.setAttribute("aria-invalid", String(text !== ""));
  complaint.textContent = text;
  if (text) input.focus();
  return text === "";
}
