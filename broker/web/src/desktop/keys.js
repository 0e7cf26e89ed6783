/** Keys that a keyboard lacks, or that the browser or the system keeps for itself. */
import { h, set } from "../lib/dom.js";
import { action, word } from "./bar.js";
import { KEYS } from "./keysyms.js";

const HELD = { Ctrl: "ControlLeft", Alt: "AltLeft", Shift: "ShiftLeft", Super: "MetaLeft", Tab: "Tab", Esc: "Escape" };
const PRESSED = { Esc: "Escape", Tab: "Tab", Del: "Delete", "←": "ArrowLeft", "↑": "ArrowUp", "↓": "ArrowDown", "→": "ArrowRight" };
const ARROWS = { "←": "Left", "↑": "Up", "↓": "Down", "→": "Right" };

/** Keys that stay down until they are let go. */
export class Held {
  #send;
  #down = new Set();

  /** `send(keysym, code, down)`. */
  constructor(send) {
    this.#send = send;
  }

  has(code) {
    return this.#down.has(code);
  }

  /** Press it, or let it go. */
  toggle(code) {
    const down = !this.#down.delete(code);
    if (down) this.#down.add(code);
    this.#send(KEYS[code], code, down);
  }

  /** The connection is gone, and with it what was down there. */
  forget() {
    this.#down.clear();
  }
}

export function keysPanel(viewer, held) {
  const press = (code) => viewer.connection.screen?.sendKey(KEYS[code], code);
  const holds = Object.entries(HELD).map(([face, code]) =>
    key(face, (event) => {
      held.toggle(code);
      set(event.currentTarget, "aria-pressed", String(held.has(code)));
    }, { "aria-pressed": String(held.has(code)) }),
  );
  const presses = Object.entries(PRESSED).map(([face, code]) =>
    key(face, () => press(code), face in ARROWS ? { "data-t-label": ARROWS[face], "aria-label": ARROWS[face] } : {}),
  );
  const type = () => viewer.focus();
  return h(
    "div",
    { class: "stack" },
    action("Type: open the keyboard", type, { class: "primary", autofocus: true }),
    word("h3", "Hold down"),
    h("div", { class: "row keys" }, holds),
    word("h3", "Press"),
    h("div", { class: "row keys" }, presses, key("Ctrl+Alt+Del", () => viewer.connection.screen?.sendCtrlAltDel())),
    word("p", "Ctrl+Alt+Shift leads from the desktop back to this bar.", { class: "hint" }),
  );
}

/** Pressed by hand it leaves the focus, and so a touch keyboard, where it is. */
function key(face, act, props = {}) {
  return h("button", { type: "button", class: "small", onmousedown: (event) => event.preventDefault(), onclick: act, ...props }, face);
}
