/** One desktop's picture in an element, kept over lost connections. */
import { pause } from "../lib/following.js";
import { ending } from "./ends.js";
import { Screen } from "./novnc.js";

/** Milliseconds. */
const PING = 2_000;
const DEAD = 20_000;
const DEAD_WHEN_BACK = 3_000;
const STEADY = 5_000;
const SECOND = 1_000;

/**
 * States, told to `onState(state, {sentence, seconds, code, action})`:
 * `connecting`, `starting` (with what is done for it just now), `live`, `lost` (comes again in so
 * many seconds) and `ended` (does not, for the reason that the sentence says).
 */
export class Connection {
  /** What the relay said of the desktop: `{desktop, rights, clipboard, session, share}`. */
  desk = null;
  screen = null;
  state = "";
  bytes = 0;
  /** Milliseconds there and back, the last time that it was measured. */
  latency = null;
  #url;
  #frame;
  #told;
  #socket = null;
  #failures = 0;
  #liveAt = 0;
  #timers = new Set();
  #online = () => this.#backOnline();

  /**
   * `frame` is where the picture goes. Of `told`: `onState`, `onReady(desk)`, `onScreen(screen)`
   * with each new one, `onPicture(url)` with the last picture of a lost one, `onLatency(ms)`.
   */
  constructor(url, frame, told) {
    this.#url = url;
    this.#frame = frame;
    this.#told = told;
    addEventListener("online", this.#online);
  }

  /** Connect now, whatever is under way. */
  open() {
    this.#drop();
    this.#tell("connecting");
    const socket = new WebSocket(this.#url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#hear(socket, event.data);
    socket.addEventListener("message", (event) => {
      this.bytes += event.data.byteLength ?? event.data.length;
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.#socket) this.#lost(event.code, event.reason);
    });
    this.#socket = socket;
  }

  /** Let go of the desktop while something is done to it; `open` goes on. */
  leaveFor(sentence) {
    if (this.state === "live") this.#keepPicture();
    this.#drop();
    this.#tell("starting", { sentence });
  }

  /** End it for good. */
  close() {
    removeEventListener("online", this.#online);
    this.#drop();
  }

  /** Whether the person may do what `right` says. */
  may(right) {
    return this.desk !== null && this.desk.rights.includes(right);
  }

  #hear(socket, data) {
    if (socket !== this.#socket || typeof data !== "string") return;
    const said = JSON.parse(data);
    if (said.progress !== undefined) this.#tell("starting", { sentence: said.progress });
    if (said.ready !== undefined) this.#begin(socket, said.ready);
  }

  #begin(socket, ready) {
    this.desk = ready;
    this.#told.onReady(ready);
    const screen = new Screen(this.#frame, socket, { shared: true });
    this.screen = screen;
    screen.background = "transparent";
    screen.focusOnClick = false;
    screen.viewOnly = !this.may("control") && !this.may("clipboard_in");
    screen.addEventListener("connect", () => this.#live());
    this.#told.onScreen(screen);
    socket.send(JSON.stringify({ go: true }));
  }

  #live() {
    this.#liveAt = performance.now();
    this.#tell("live");
    this.#every(PING, () => this.#ping(DEAD));
  }

  #ping(patience) {
    const silent = this.screen?.unanswered ?? 0;
    if (silent > patience) this.#lost(1006, "");
    else this.screen?.ping((ms) => this.#measured(ms));
  }

  #measured(ms) {
    this.latency = ms;
    this.#told.onLatency?.(ms);
  }

  #lost(code, reason) {
    const end = ending(code, reason);
    if (this.state === "live") {
      this.#keepPicture();
      if (performance.now() - this.#liveAt > STEADY) this.#failures = 0;
    }
    this.#drop();
    if (!end.retry) {
      this.#tell("ended", { ...end, code });
      return;
    }
    let seconds = Math.max(1, Math.round(pause(this.#failures) / SECOND));
    this.#failures += 1;
    const count = () => {
      if (seconds <= 0) this.open();
      else this.#tell("lost", { ...end, code, seconds });
      seconds -= 1;
    };
    this.#every(SECOND, count);
    count();
  }

  #keepPicture() {
    try {
      this.#told.onPicture?.(this.screen.toDataURL("image/jpeg", 0.8));
    } catch {
      // It never had one.
    }
  }

  #backOnline() {
    if (this.state === "lost") this.open();
    else if (this.state === "live") {
      this.#ping(DEAD);
      this.#every(DEAD_WHEN_BACK, () => this.#ping(DEAD_WHEN_BACK - PING / 2));
    }
  }

  #every(ms, act) {
    this.#timers.add(setInterval(act, ms));
  }

  /** Let go of what is there, without a word. */
  #drop() {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers.clear();
    const { screen } = this;
    const socket = this.#socket;
    this.screen = null;
    this.#socket = null;
    // noVNC closes its socket by itself; one that never got so far has none.
    if (screen !== null) screen.disconnect();
    else socket?.close();
  }

  #tell(state, more = {}) {
    this.state = state;
    this.#told.onState(state, more);
  }
}
