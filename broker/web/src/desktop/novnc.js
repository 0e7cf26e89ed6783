/** noVNC 1.7.0, and the only module that knows what is inside of it. */
import RFB from "@novnc/novnc";
// The package exports its main module alone.
import Keyboard from "../../node_modules/@novnc/novnc/core/input/keyboard.js";
import { initLogging } from "../../node_modules/@novnc/novnc/core/util/logging.js";

// What goes wrong is told on the page: on the console it would be told twice, and late bytes of a
// closed socket as an error.
initLogging("none");

const FENCE_HEADER = 8; // three bytes of padding, flags, length
const FENCE_REQUEST = 1 << 31;
const FENCE_BEFORE = 1;

/** RFB that counts frames and measures the way there and back. */
export class Screen extends RFB {
  /** Frames that were painted. */
  frames = 0;
  #asked = null;

  /** The canvas; null when there is none any more. */
  get canvas() {
    return this._canvas;
  }

  /** Pixels of the desktop, `[0, 0]` before it is known. */
  get size() {
    return [this._fbWidth, this._fbHeight];
  }

  /** Whether the desktop can be given another size. */
  get resizable() {
    return this._supportsSetDesktopSize;
  }

  /** Milliseconds since a `ping` that is unanswered; 0 when none is. */
  get unanswered() {
    return this.#asked === null ? 0 : performance.now() - this.#asked.at;
  }

  /**
   * Ask the server to answer behind all that it has sent: `onAnswer(milliseconds)`. One at a time;
   * says whether it was asked.
   */
  ping(onAnswer) {
    if (!this._supportsFence || this.#asked !== null || this._rfbConnectionState !== "connected") {
      return false;
    }
    this.#asked = { at: performance.now(), onAnswer };
    RFB.messages.clientFence(this._sock, FENCE_REQUEST | FENCE_BEFORE, "");
    return true;
  }

  /** A key as the keyboard has it, with the state of its locks. */
  press(...key) {
    this._handleKeyEvent(...key);
  }

  _framebufferUpdate() {
    const whole = super._framebufferUpdate();
    if (whole) this.frames += 1;
    return whole;
  }

  /** noVNC asks nothing, so for it an answer is a mistake. */
  _handleServerFenceMsg() {
    if (this._sock.rQwait("fence", FENCE_HEADER, 1)) return false;
    const flags = new DataView(this._sock.rQpeekBytes(FENCE_HEADER).buffer).getInt32(3);
    if (flags & FENCE_REQUEST || this.#asked === null) return super._handleServerFenceMsg();
    const length = this._sock.rQpeekBytes(FENCE_HEADER)[FENCE_HEADER - 1];
    if (this._sock.rQwait("fence", FENCE_HEADER + length, 1)) return false;
    this._sock.rQskipBytes(FENCE_HEADER + length);
    const { at, onAnswer } = this.#asked;
    this.#asked = null;
    onAnswer(performance.now() - at);
    return true;
  }
}

/** Physical keys of `element` go to `onKey(keysym, code, down, numLock, capsLock)`. */
export function grab(element, onKey) {
  const keyboard = new Keyboard(element);
  keyboard.onkeyevent = onKey;
  keyboard.grab();
  return {
    /** Let go of every key that is down. */
    release: () => {
      keyboard.ungrab();
      keyboard.grab();
    },
    close: () => keyboard.ungrab(),
  };
}
