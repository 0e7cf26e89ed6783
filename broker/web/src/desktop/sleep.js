/** Tells before a desktop goes to sleep, with the button that keeps it awake. */
import { api } from "../lib/api.js";
import { fill, h, write } from "../lib/dom.js";
import { duration } from "../lib/format.js";
import { onLanguage, t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { busy } from "../lib/notices.js";
import { action } from "./bar.js";

/** Seconds before the end that it is told, and that one click gives. */
const TOLD = 300;
const MORE = "1h";

/** Milliseconds between two questions. */
const FAR = 30_000;
const NEAR = 5_000;
const SECOND = 1_000;

export class Sleep {
  #banner;
  #session;
  #timer = null;
  #tick = null;
  #line = null;
  #end = null;
  #unlisten;

  /** `session()` answers the session's id, null while there is none. */
  constructor(banner, session) {
    this.#banner = banner;
    this.#session = session;
    this.#unlisten = onLanguage(() => this.#hide());
  }

  /** Begin to ask, or ask at once. */
  watch() {
    clearTimeout(this.#timer);
    this.#ask();
  }

  async #ask() {
    let near = false;
    const id = this.#session();
    try {
      if (id !== null && !document.hidden) near = this.#told(await api("GET", `/sessions/${id}`));
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
      this.#hide(); // The connection tells what is the matter.
    }
    this.#timer = setTimeout(() => this.#ask(), near ? NEAR : FAR);
  }

  #told({ next, next_in: left }) {
    const near = next !== null && left !== null && left <= TOLD;
    if (!near) this.#hide();
    else this.#show(next, Date.now() + left * SECOND);
    return near;
  }

  #show(next, end) {
    this.#end = end;
    if (this.#line !== null) return;
    this.#line = h("span", null);
    const keep = action("Keep it awake for an hour", (event) => busy(event.currentTarget, () => this.#keep()), { class: "primary small" });
    fill(this.#banner, h("div", { class: "note warn", role: "alert" }, icon("moon"), this.#line, keep));
    const sentence = next === "stop" ? "Nobody does anything here: this desktop is stopped in {duration}." : "Nobody does anything here: this desktop goes to sleep in {duration}.";
    const tell = () => write(this.#line, t(sentence, { duration: duration(Math.max(0, (this.#end - Date.now()) / SECOND)) }));
    this.#tick = setInterval(tell, SECOND);
    tell();
  }

  async #keep() {
    await api("POST", `/sessions/${this.#session()}/extend`, { time: MORE });
    this.#hide();
    this.watch();
  }

  #hide() {
    clearInterval(this.#tick);
    this.#line = null;
    fill(this.#banner);
  }

  close() {
    clearTimeout(this.#timer);
    this.#hide();
    this.#unlisten();
  }
}
