/** Secrets that came in the address, behind the #, which no server sees. */

const ID = /^[0-9a-f]{16}$/;

/** By the broker's code. */
const REFUSALS = {
  unauthenticated: "Signing in there did not work. Try again.",
  access_denied: "You have no account here, or it may not be used in a browser.",
  source_unavailable: "Who would say who you are does not answer. Try again later.",
  blocked: "Too many wrong tries. Try again later.",
  full: "Too many sign-ins are under way. Try again later.",
  not_found: "Signing in there is not set up any more.",
};

/** What `#link=TOKEN&desktop=ID` says; null for another fragment. What is no id is left out. */
export function readLink(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const token = said.get("link");
  if (!token) return null;
  const desktop = said.get("desktop") ?? "";
  return { token, desktop: ID.test(desktop) ? desktop : null };
}

/** What became of a sign-in elsewhere, `#refused=CODE`: `{code, text}`; null for another fragment. */
export function readRefusal(hash) {
  const code = new URLSearchParams(hash.replace(/^#/, "")).get("refused");
  if (code === null) return null;
  return { code, text: REFUSALS[Object.hasOwn(REFUSALS, code) ? code : "unauthenticated"] };
}

/** Take the whole fragment from the address and the history. */
export function dropFragment() {
  history.replaceState(null, "", location.pathname + location.search);
}
