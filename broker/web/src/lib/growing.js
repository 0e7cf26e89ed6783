/** A long list that is made as far as somebody looks: rows cost little, hundreds at a time do not. */
import { h } from "./dom.js";

/** Rows at first, and at each further look. */
const STEP = 60;

/** Pixels below the page at which more are made. */
const AHEAD = 800;

export class Growing {
  /** Stands below the list. */
  end = h("div", { "aria-hidden": "true" });

  #most = STEP;
  #more = false;
  #watcher;

  /** `update()` shows the list anew. */
  constructor(update) {
    this.#watcher = new IntersectionObserver(
      (entries) => {
        if (!this.#more || !entries.some((entry) => entry.isIntersecting)) return;
        this.#most += STEP;
        update();
        // One that stays in sight is told of anew.
        this.#watcher.unobserve(this.end);
        this.#watcher.observe(this.end);
      },
      { rootMargin: `${AHEAD}px` },
    );
    this.#watcher.observe(this.end);
  }

  /** Those of `rows` that are shown. */
  shown(rows) {
    this.#more = rows.length > this.#most;
    return this.#more ? rows.slice(0, this.#most) : rows;
  }

  /** Another list: begin at its head. */
  anew() {
    this.#most = STEP;
  }

  close() {
    this.#watcher.disconnect();
  }
}
