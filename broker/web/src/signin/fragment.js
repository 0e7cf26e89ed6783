/** Secrets that came in the address, behind the #, which no server sees. */

const ID = /^[0-9a-f]{16}$/;

/** What `#link=TOKEN&desktop=ID` says; null for another fragment. What is no id is left out. */
export function readLink(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const token = said.get("link");
  if (!token) return null;
  const desktop = said.get("desktop") ?? "";
  return { token, desktop: ID.test(desktop) ? desktop : null };
}

/** Take the whole fragment from the address and the history. */
export function dropFragment() {
  history.replaceState(null, "", location.pathname + location.search);
}
