/** Sentences at the edge of the page, for a moment: what was done, what went wrong. */
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { sentence } from "./sentences.js";

/** Milliseconds. */
const SHOWN = 5_000;
const SHOWN_BAD = 12_000;

const ICONS = { good: "check", bad: "alert", warn: "alert", info: "info" };

let place = null;

function edge() {
  if (place === null || !place.isConnected) {
    // What is in a dialog is above all else, and alone reachable while it is open.
    place = h("div", { class: "notices", role: "status", "aria-live": "polite" });
  }
  (document.querySelector("dialog[open]") ?? document.body).append(place);
  return place;
}

/** Show a sentence; `kind` is good, bad, warn or info. */
export function say(text, kind = "good") {
  const shut = h(
    "button",
    {
      class: "plain small square",
      type: "button",
      "aria-label": t("Close"),
      onclick: () => note.remove(),
    },
    icon("close"),
  );
  const note = h(
    "div",
    { class: `note ${kind}` },
    icon(ICONS[kind]),
    h("span", { class: "break" }, text),
    shut,
  );
  edge().append(note);
  setTimeout(() => note.remove(), kind === "bad" ? SHOWN_BAD : SHOWN);
}

/** Show why something was refused. What is no refusal is a mistake of ours, and goes on its way. */
export function complain(problem) {
  if (problem?.name === "AbortError") return;
  if (problem?.name !== "Problem") throw problem;
  say(sentence(problem), "bad");
}

/** Do `act` with `button` out of use meanwhile; complain when it is refused. */
export async function busy(button, act) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    return await act();
  } catch (problem) {
    return complain(problem);
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}
