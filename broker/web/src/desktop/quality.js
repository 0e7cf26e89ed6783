/** How fine the picture is, by how fast it comes. */

export const FIRST = 6;
const LOWEST = 1;
const HIGHEST = 8;

/** Milliseconds that answers may wait behind pictures before those are to be smaller. */
const LATE = 250;
const PROMPT = 80;

/** Bytes in a second below which the picture is not what keeps answers waiting. */
const QUIET = 30_000;

/** Prompt answers in a row before a finer picture is tried. */
const PATIENCE = 3;

/** Chooses a level of 0 to 9 from one measure after the other. */
export class Quality {
  level = FIRST;
  #best = Infinity;
  #prompt = 0;

  /** `latency` in ms, `rate` in bytes in a second; answers the level from now on. */
  measured({ latency, rate }) {
    this.#best = Math.min(this.#best, latency);
    const waited = latency - this.#best;
    if (waited > LATE && rate > QUIET) {
      this.level = Math.max(LOWEST, this.level - 2);
      this.#prompt = 0;
    } else if (waited < PROMPT) {
      this.#prompt += 1;
      if (this.#prompt >= PATIENCE) {
        this.level = Math.min(HIGHEST, this.level + 1);
        this.#prompt = 0;
      }
    } else {
      this.#prompt = 0;
    }
    return this.level;
  }
}
