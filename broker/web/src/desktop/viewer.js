/** A desktop in a page: its picture, its keyboard, and a bar of what one can do with it. */
import { fill, h, write } from "../lib/dom.js";
import { onLanguage, t, translate } from "../lib/i18n.js";
import { brand } from "../lib/icons.js";
import { Panels, roving, tool, word } from "./bar.js";
import { clipboardPanel } from "./clipboard.js";
import { Connection } from "./connection.js";
import { Copied } from "./copied.js";
import { displayPanel, Picture } from "./display.js";
import { attach } from "./keyboard.js";
import { Held, keysPanel } from "./keys.js";
import { soundTool } from "./speaker.js";
import { Veil } from "./veil.js";
import { fullScreenTool } from "./whole.js";
import "./viewer.css";
import "./words.js";

/** Milliseconds that the picture from before stays behind the new one. */
const FADE = 1_000;

/** Milliseconds that the way out of the keyboard is told. */
const TOLD = 6_000;

const WAY_OUT = "Ctrl+Alt+Shift leads from the desktop back to this bar.";

/**
 * Show a desktop in `parent`, which it fills. `socket` and `sound` are addresses of web sockets;
 * `home` is where one goes from here, null for nowhere. `onState(state, sentence, code)` hears how
 * it goes; `actions` replaces what can be done at an end, by its name. `tools(viewer)` answers more
 * buttons for the bar. Ends with `close()`.
 */
export function openViewer(parent, options) {
  return new Viewer(parent, options);
}

class Viewer {
  connection;
  panels;
  copied;
  #options;
  #keyboard = null;
  #picture;
  #held;
  #veil;
  #gone = new AbortController();
  #unlisten;
  #wayOutTold = false;

  constructor(parent, { socket, sound = null, home = "/", onState = () => {}, tools = () => [], actions = {} }) {
    this.#options = { onState };
    this.#build(parent, home);
    parent.append(this.element);
    const clipboard = navigator.clipboard;
    this.copied = new Copied(clipboard ? (text) => clipboard.writeText(text) : null);
    this.connection = new Connection(socket, this.frame, {
      onState: (state, more) => this.#state(state, more),
      onReady: (desk) => this.#ready(desk),
      onScreen: (screen) => this.#begin(screen),
      onPicture: (url) => this.#remember(url),
      onLatency: () => this.#picture.measured(),
    });
    this.#picture = new Picture(this.connection, this.stage, this.frame);
    this.#held = new Held((...key) => this.connection.screen?.sendKey(...key));
    this.panels = new Panels(this.place, () => this.focus());
    this.#veil = new Veil(this.veil, { again: () => this.connection.open(), leave: home, ...actions });
    this.#tools(sound, tools);
    this.#listen();
    this.#unlisten = onLanguage(() => this.#retell());
    translate(this.element);
    this.connection.open();
  }

  #build(parent, home) {
    this.name = h("strong", { class: "name" });
    this.status = h("span", { class: "state", role: "status" });
    this.badge = word("span", "View only", { class: "tag warn", hidden: true });
    this.tools = h("div", { class: "viewer-tools", role: "toolbar", "aria-controls": "screen", "data-t-label": "Tools of the desktop" });
    this.bar = h(
      "header",
      { class: "viewer-bar" },
      home && h("a", { class: "brand", href: home, "data-t-label": "All desktops" }, brand()),
      h("span", { class: "viewer-told" }, this.name, this.status, this.badge),
      this.tools,
    );
    this.banner = h("div", { class: "viewer-banner" });
    this.past = h("div", { class: "viewer-past", hidden: true });
    this.frame = h("div", { class: "viewer-frame", id: "screen" });
    this.field = h("textarea", {
      class: "viewer-keyboard", autocapitalize: "off", autocomplete: "off", autocorrect: "off", spellcheck: "false",
      "data-t-label": "Keyboard of the desktop", "aria-describedby": "way-out", disabled: true,
    });
    this.hint = word("p", WAY_OUT, { class: "viewer-hint", id: "way-out" });
    this.veil = h("div", { class: "viewer-veil", hidden: true });
    this.stage = h(parent.closest("main") === null ? "main" : "div", { class: "viewer-stage" }, this.past, this.frame, this.field, this.hint, this.veil);
    this.place = h("div", { class: "viewer-place" });
    this.handle = tool("down", "Show the bar", { class: "viewer-handle", hidden: true, onclick: () => this.showBar(true) });
    this.element = h("div", { class: "viewer" }, this.bar, this.banner, this.stage, this.place, this.handle);
    // For whoever examines a page: what it is made of.
    this.frame.viewer = this;
  }

  #tools(sound, more) {
    const { connection, panels } = this;
    const clipboard = panels.button("clipboard", "Clipboard", () => clipboardPanel(this));
    const keys = panels.button("keyboard", "Keyboard", () => keysPanel(this, this.#held));
    const display = panels.button("display", "Picture", () => displayPanel(connection, this.#picture), () => this.#picture.hide());
    const own = [
      [clipboard, () => connection.may("clipboard_in") || connection.may("clipboard_out")],
      [keys, () => connection.may("control")],
      ...more(this),
      [sound && soundTool(sound), () => sound && connection.may("sound")],
      [display, () => true],
      [fullScreenTool((on) => this.showBar(!on)), () => document.fullscreenEnabled],
      [tool("up", "Hide the bar", { onclick: () => this.showBar(false) }), () => true],
    ];
    this.offered = own.filter(([button]) => button);
    fill(this.tools, this.offered.map(([button]) => button));
    this.settle = roving(this.tools);
    this.offer();
  }

  /** Show the tools that make sense now. */
  offer() {
    for (const [button, when] of this.offered) button.hidden = !when(this.connection);
    this.settle();
  }

  #listen() {
    const { signal } = this.#gone;
    this.stage.addEventListener("mousedown", () => setTimeout(() => this.focus()), { signal });
    for (const kind of ["keydown", "pointerdown", "pointerup"]) {
      addEventListener(kind, () => this.copied.retry(), { signal, capture: true });
    }
    this.field.addEventListener("focus", () => this.#tellWayOut(), { signal });
  }

  /** Once: whoever came back knows it. */
  #tellWayOut() {
    if (this.#wayOutTold) return;
    this.#wayOutTold = true;
    this.hint.classList.add("shown");
    setTimeout(() => this.hint.classList.remove("shown"), TOLD);
  }

  /** Give the keyboard to the desktop. */
  focus() {
    if (!this.field.disabled) this.field.focus({ preventScroll: true });
  }

  /** Show the bar, or give its place to the desktop. */
  showBar(on) {
    this.panels.shut();
    this.bar.hidden = !on;
    this.handle.hidden = on;
    if (!on) this.focus();
  }

  #leaveKeyboard() {
    this.showBar(true);
    this.tools.querySelector("button:not([hidden])").focus();
  }

  /** A text for the desktop's clipboard. */
  paste(text) {
    this.copied.know(text);
    this.connection.screen?.clipboardPasteFrom(text);
  }

  #ready(desk) {
    write(this.name, desk.desktop ?? "");
    if (desk.desktop) document.title = `${desk.desktop} – Desk`;
    const held = desk.clipboard;
    // Copied while nobody looked on: after a lost connection it is news, at first it is what the
    // desktop holds, and the person's own clipboard may hold what they came to paste.
    if (held !== null && this.copied.text !== null) this.copied.take(held);
    else if (held !== null) this.copied.know(held);
    this.badge.hidden = this.connection.may("control");
    this.offer();
  }

  #begin(screen) {
    this.#picture.begin(screen);
    screen.addEventListener("clipboard", ({ detail }) => {
      if (this.connection.may("clipboard_out")) this.copied.take(detail.text);
    });
    screen.addEventListener("connect", () => {
      setTimeout(() => {
        if (this.connection.screen === screen) this.past.hidden = true;
      }, FADE);
      if (!this.connection.may("control")) return;
      this.#keyboard?.close();
      this.field.disabled = false;
      this.#keyboard = attach(this.field, screen, {
        paste: (text) => this.connection.may("clipboard_in") && this.paste(text),
        leave: () => this.#leaveKeyboard(),
      });
      if (!matchMedia("(pointer: coarse)").matches && document.activeElement === document.body) this.focus();
    });
  }

  #remember(url) {
    this.past.style.backgroundImage = `url("${url}")`;
    this.past.hidden = false;
  }

  #state(state, more) {
    this.last = [state, more];
    if (state !== "live") {
      this.#keyboard?.close();
      this.#keyboard = null;
      this.#held.forget();
      this.field.disabled = true;
    }
    this.#retell();
    this.#options.onState(state, more.sentence ?? "", more.code ?? null);
  }

  #retell() {
    const [state, more] = this.last;
    const kind = { live: "good", lost: "warn", ended: "bad" }[state] ?? "starting";
    this.status.className = `state ${kind}`;
    write(this.status, t(STATES[state]));
    this.#veil.show(state, more);
  }

  close() {
    this.#gone.abort();
    this.#unlisten();
    this.panels.shut();
    this.#keyboard?.close();
    this.connection.close();
    this.element.remove();
  }
}

const STATES = {
  connecting: "Connecting …",
  starting: "Starting …",
  live: "Connected",
  lost: "Connection lost",
  ended: "Not connected",
};
