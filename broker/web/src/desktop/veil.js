/** What stands before the picture while there is none: what is done, what was lost, why it ended. */
import { fill, h } from "../lib/dom.js";
import { count, t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { progressWords } from "./progress.js";

const BUTTONS = { again: "Try again", start: "Start the desktop", leave: "All desktops", "sign-in": "Sign in" };

export class Veil {
  #element;
  #actions;

  /** `actions` by name: a function, an address, or null for what is not offered. */
  constructor(element, actions) {
    this.#element = element;
    this.#actions = { start: actions.again, "sign-in": actions.leave, ...actions };
  }

  /** As the connection is. A countdown changes one line, not what somebody is about to press. */
  show(state, { sentence = "", seconds, action } = {}) {
    const element = this.#element;
    element.hidden = state === "live";
    element.className = `viewer-veil ${state}`;
    switch (state) {
      case "connecting":
        return this.#card(h("span", { class: "spinner" }), h("p", null, t("Connecting …")));
      case "starting":
        return this.#card(h("span", { class: "spinner" }), h("p", { role: "status" }, progressWords(sentence)));
      case "lost":
        return this.#lost(sentence, seconds);
      case "ended":
        return this.#card(icon("info"), h("p", { role: "alert" }, sentence), this.#button(action), action !== "leave" && this.#button("leave", "plain"));
      default:
        return fill(element);
    }
  }

  #lost(sentence, seconds) {
    const line = count(seconds, "Trying again in {n} second.", "Trying again in {n} seconds.");
    const old = this.#element.querySelector(".countdown");
    if (old !== null) {
      old.textContent = line;
      return;
    }
    const again = h("button", { type: "button", class: "primary", onclick: this.#actions.again }, t("Try now"));
    this.#card(icon("alert"), h("p", { role: "alert" }, sentence), h("p", { class: "countdown soft" }, line), again);
  }

  #button(name, kind = "primary") {
    const act = this.#actions[name];
    if (!act) return null;
    const label = t(BUTTONS[name]);
    return typeof act === "string"
      ? h("a", { class: `button ${kind}`, href: act }, label)
      : h("button", { type: "button", class: kind, onclick: act }, label);
  }

  #card(...children) {
    fill(this.#element, h("div", { class: "card padded viewer-card" }, children));
  }
}
