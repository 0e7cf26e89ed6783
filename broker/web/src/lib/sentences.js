/** What is said of a refusal, in the reader's language. */
import { duration } from "./format.js";
import { known, language, t } from "./i18n.js";

/** By stable code, where the broker's own sentence is in another language than the reader's. */
const CODES = {
  access_denied: "This is not allowed.",
  unauthenticated: "Sign in again.",
  bad_request: "That was not understood.",
  not_found: "It is not there, or not yours.",
  conflict: "This collides with something that is there.",
  full: "Desk is full just now.",
  engine_unavailable: "The container engine does not answer.",
  home_missing: "The home of this desktop is gone; ask an administrator.",
  image_missing: "The image of the desktops is missing; ask an administrator.",
  start_failed: "The desktop could not start.",
  blocked: "Too many wrong tries.",
  held_back: "The desktop failed to start several times and waits before the next try.",
  session_ended: "The desktop was stopped meanwhile.",
  shutting_down: "The broker is about to stop; try again in some seconds.",
  maintenance: "No desktop starts just now: maintenance is being prepared.",
  broker_unavailable: "The broker does not answer; try again in some seconds.",
  interrupted: "The broker went away meanwhile; look whether it was done.",
  source_unavailable: "The directory that checks passwords does not answer.",
  internal: "Something unforeseen went wrong.",
};

/**
 * One or two sentences for a Problem. The broker's are English: readers of another language get
 * the translation, or that of the code and the broker's words behind it.
 */
export function sentence(problem) {
  const said = problem.message;
  const general = CODES[problem.code];
  if (language() === "en" || known(said) || general === undefined || !known(general))
    return t(said);
  const wait = problem.retryAfter ? waiting(problem.retryAfter) : "";
  return `${t(general)}${wait} (${said})`;
}

/** When asking again may work. */
export const waiting = (seconds) => t("Try again in {duration}.", { duration: duration(seconds) });
