/** The bar of a desktop's page: tools, and one panel of them open at a time. */
import { h, set } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";

/** An element whose words follow the language. */
export const word = (tag, text, props = {}) => h(tag, { ...props, "data-t": text }, t(text));

/** A button of a drawing, with its word as label and tip. */
export function tool(drawing, label, props = {}) {
  const told = { "data-t-label": label, "aria-label": t(label), title: t(label) };
  return h("button", { type: "button", class: "plain square tool", ...told, ...props }, icon(drawing));
}

/** A button with a word. */
export const action = (text, act, props = {}) =>
  word("button", text, { type: "button", onclick: act, ...props });

/**
 * A tool that opens a panel at `place`. `fill()` makes what is in it each time; `closed()` is called
 * when it is shut again.
 */
export class Panels {
  #place;
  #open = null;
  #keys;

  /** `leaveTo()` takes the focus when a panel is shut by Escape. */
  constructor(place, keys) {
    this.#place = place;
    this.#keys = keys;
    place.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      const button = this.#open?.button;
      this.shut();
      button?.focus();
    });
  }

  button(drawing, label, fill, closed = () => {}) {
    const button = tool(drawing, label, {
      "aria-expanded": "false",
      "aria-haspopup": "dialog",
      onclick: () => {
        const again = this.#open?.button === button;
        this.shut();
        if (!again) this.#show(button, label, fill, closed);
      },
    });
    return button;
  }

  #show(button, label, fill, closed) {
    const shut = tool("close", "Close", { class: "plain small square", onclick: () => this.#back() });
    const head = h("div", { class: "row apart" }, word("h2", label), shut);
    const panel = h("section", { class: "viewer-panel card", role: "dialog", "aria-label": t(label), "data-t-label": label }, head, fill());
    panel.title = "";
    panel.removeAttribute("title");
    set(button, "aria-expanded", "true");
    this.#open = { button, panel, closed };
    this.#place.replaceChildren(panel);
    panel.querySelector("[autofocus], input, select, textarea, button:not(.square)")?.focus();
  }

  #back() {
    this.shut();
    this.#keys();
  }

  shut() {
    if (this.#open === null) return;
    const { button, panel, closed } = this.#open;
    this.#open = null;
    set(button, "aria-expanded", "false");
    panel.remove();
    closed();
  }
}

/** Arrows, Home and End move within a toolbar, which is one stop of Tab. */
export function roving(bar) {
  const stops = () => [...bar.querySelectorAll("button")].filter((one) => !one.hidden && !one.disabled);
  function at(chosen) {
    for (const one of stops()) one.tabIndex = one === chosen ? 0 : -1;
  }
  bar.addEventListener("keydown", (event) => {
    const all = stops();
    const now = all.indexOf(document.activeElement);
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || now < 0) return;
    event.preventDefault();
    all.at(to % all.length).focus();
  });
  bar.addEventListener("focusin", (event) => at(event.target));
  return () => at(stops()[0]);
}
