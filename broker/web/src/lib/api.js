/** The way to the API: by the browser's own cookie, with the token against forged requests. */
import { follow } from "./following.js";
import { Problem, problemOf, unreachable } from "./problem.js";

export { Problem };

export const PREFIX = "/api/v1";

let csrf = null;
let signedOut = () => {};

/** What is shown with each change; `caller()` and a guest's page say it. */
export function useCsrf(value) {
  csrf = value;
}

/** Called whenever a request finds that nobody is signed in. */
export function onSignedOut(act) {
  signedOut = act;
}

/** Headers of a request that changes something, for what does not go by `api`: uploads. */
export function proof() {
  return csrf === null ? {} : { "Desk-CSRF": csrf };
}

/**
 * Ask the API; `path` begins behind its prefix. Answers what it answered, null for nothing.
 * Raises Problem.
 */
export async function api(method, path, body, { signal } = {}) {
  const headers = { Accept: "application/json", ...(method === "GET" ? {} : proof()) };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(PREFIX + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal,
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await problemOf(response);
  if (problem.status === 401 && !path.startsWith("/sign-in")) signedOut(problem);
  throw problem;
}

/** All items of a list, page by page. Raises Problem. */
export async function list(path) {
  const items = [];
  const joint = path.includes("?") ? "&" : "?";
  let next = null;
  do {
    const cursor = next === null ? "" : `${joint}cursor=${encodeURIComponent(next)}`;
    const page = await api("GET", path + cursor);
    items.push(...page.items);
    next = page.next;
  } while (next !== null);
  return items;
}

/** Who is signed in, and what they may do. Raises Problem: 401 when nobody is. */
export async function caller() {
  const me = await api("GET", "/caller");
  useCsrf(me.csrf);
  return me;
}

/** A part of a path. A slash stays: a coded one is refused, and keys' fingerprints have some. */
export const part = (text) => encodeURIComponent(text).replaceAll("%2F", "/");

/**
 * Call `onEvent` with each entry of the audit as it is written; comes again by itself where it
 * was. `onState` is told "live", "waiting" (poll meanwhile) and "ended" (nobody is signed in).
 * Returns what ends it.
 */
export const events = (onEvent, options = {}) =>
  follow(`${PREFIX}/events`, onEvent, { ...options, onEnded: signedOutBy });

const signedOutBy = () => signedOut(new Problem(401, "unauthenticated", "Sign in again."));
