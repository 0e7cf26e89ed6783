/** What the end of a relay means: whether to come again, and what to say. */
import { known, language, t } from "../lib/i18n.js";

/** Nobody meant it: the page comes again by itself. */
const RETRIED = new Set([1005, 1006, 1011, 1012]);

const SENTENCES = {
  1005: "The connection was lost.",
  1006: "The connection was lost.",
  1011: "The desktop cannot be reached just now.",
  1012: "The connection was interrupted.",
  4400: "Page and server did not understand each other. Load the page again.",
  4401: "You are signed out. Sign in again.",
  4403: "You may not see this desktop.",
  4404: "There is no such desktop, or it is not yours.",
  4409: "Somebody ended this connection.",
  4410: "The desktop sleeps or was stopped.",
  4429: "Too many people or pages look at this desktop.",
};

const UNKNOWN = "The connection was ended.";

/** What a person can do then. */
const ACTIONS = { 4401: "sign-in", 4403: "leave", 4404: "leave", 4410: "start" };

/**
 * Of a close code and its reason: `{retry, sentence, action}`; the action is `again`, `start`,
 * `sign-in` or `leave`.
 */
export function ending(code, reason = "") {
  return {
    retry: RETRIED.has(code),
    sentence: said(code, reason),
    action: ACTIONS[code] ?? "again",
  };
}

/** The server's words are English; readers of another language get those of the code. */
function said(code, reason) {
  if (reason !== "" && (language() === "en" || known(reason))) return t(reason);
  return t(SENTENCES[code] ?? UNKNOWN);
}
