/**
 * The keyboard of a desktop: an unseen text field over the picture. It has the focus in place of
 * the picture, because only what can be edited gets input methods, dead keys, touch keyboards and
 * the browser's own event of pasting.
 */
import { difference } from "./composing.js";
import { KEYS, keysymOf, typist } from "./keysyms.js";
import { grab } from "./novnc.js";

/** What the field holds, so that a touch keyboard has something to take away. */
const FILLER = "\u00a0".repeat(16);

/** Milliseconds for the browser to say what it pastes. */
const PASTE = 150;

const IS_MAC = /mac|iphone|ipad/i.test(globalThis.navigator?.platform ?? "");
const TOUCH = globalThis.matchMedia?.("(pointer: coarse)");

/** An event whose text comes by an input method, and no key. */
const isSoft = (event) =>
  event.isComposing ||
  event.keyCode === 229 ||
  ["Process", "Dead", "Unidentified"].includes(event.key);

/** Ctrl+Alt+Shift, in whatever order: the way out of a field that takes every key, Tab too. */
const isWayOut = (event) =>
  event.ctrlKey && event.altKey && event.shiftKey && ["Control", "Alt", "Shift"].includes(event.key);

const isPaste = (event) =>
  event.code === "KeyV" && !event.altKey && (IS_MAC ? event.metaKey || event.ctrlKey : event.ctrlKey);

/**
 * Make `field` the keyboard of `screen`. `paste(text)` takes what the person pastes to the desktop's
 * clipboard, `leave()` is called for the way out. Returns what ends it.
 */
export function attach(field, screen, { paste, leave }) {
  const type = typist((keysym) => screen.sendKey(keysym, null));
  const keys = grab(field, (...key) => screen.press(...key));
  const gone = new AbortController();
  let composing = false;
  let pasting = null;

  function reset() {
    field.value = FILLER;
    field.setSelectionRange(FILLER.length, FILLER.length);
  }

  let before = FILLER;
  /** Type in the desktop what has changed here. */
  function follow() {
    const { back, text } = difference(before, field.value);
    before = field.value;
    for (let n = 0; n < back; n += 1) screen.sendKey(KEYS.Backspace, "Backspace");
    if (text !== "") type(text);
    if (composing) return;
    reset();
    before = FILLER;
  }

  function pressV(shifted) {
    clearTimeout(pasting?.timer);
    const { command } = pasting ?? {};
    pasting = null;
    if (command) {
      // On a Mac the key beside V means another there: only Control pastes.
      keys.release();
      screen.sendKey(KEYS.ControlLeft, "ControlLeft", true);
    }
    screen.sendKey(keysymOf(shifted ? "V" : "v"), "KeyV");
    if (command) screen.sendKey(KEYS.ControlLeft, "ControlLeft", false);
  }

  const handlers = {
    keydown(event) {
      if (isWayOut(event)) {
        event.preventDefault();
        event.stopImmediatePropagation();
        keys.release();
        leave();
      } else if (isPaste(event)) {
        // Not prevented: now the browser says what the person has copied, without a permission.
        event.stopImmediatePropagation();
        if (event.repeat) return;
        const shifted = event.shiftKey;
        pasting = { shifted, command: event.metaKey, timer: setTimeout(() => pressV(shifted), PASTE) };
      } else if (isSoft(event)) event.stopImmediatePropagation();
    },
    keyup(event) {
      if (event.isComposing) event.stopImmediatePropagation();
    },
    paste(event) {
      event.preventDefault();
      const text = event.clipboardData.getData("text/plain");
      if (text !== "") paste(text);
      // The text and the key travel in one stream: the key cannot be there first.
      if (pasting !== null) pressV(pasting.shifted);
    },
    compositionstart() {
      composing = true;
    },
    compositionend() {
      composing = false;
      follow();
    },
    input() {
      // Phones compose each word: there it is typed as it grows. Elsewhere what is composed is an
      // input method's question, and its end the answer.
      if (!composing || TOUCH?.matches) follow();
    },
  };
  for (const [name, act] of Object.entries(handlers)) {
    // Before noVNC's own, which hear the same field.
    field.addEventListener(name, act, { capture: true, signal: gone.signal });
  }
  reset();

  return {
    /** Let go of every key that is down. */
    release: keys.release,
    close() {
      gone.abort();
      clearTimeout(pasting?.timer);
      keys.close();
    },
  };
}
