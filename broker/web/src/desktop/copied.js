/** Text that was copied in the desktop, on its way to the person's own clipboard. */

/**
 * Browsers let a page write there for some seconds after a key or a click: what was refused is
 * kept, and `retry` is called at the next of those.
 */
export class Copied {
  #write;
  #waiting = null;
  #last = null;

  /** `write(text)` is a promise; null where the page has no way to the clipboard. */
  constructor(write) {
    this.#write = write;
  }

  /** What was copied last; null before anything was. */
  get text() {
    return this.#last;
  }

  /** What the desktop held already, or what the person sent there: not news for their clipboard. */
  know(text) {
    this.#last = text;
    this.#waiting = null;
  }

  /** Take a text over, once: two clients of a desktop can each tell of the same. */
  async take(text) {
    if (text === this.#last && this.#waiting === null) return;
    this.#last = text;
    this.#waiting = text;
    await this.retry();
  }

  async retry() {
    const text = this.#waiting;
    if (text === null || this.#write === null) return;
    try {
      await this.#write(text);
    } catch {
      return; // Refused: at the next key or click.
    }
    if (this.#waiting === text) this.#waiting = null;
  }
}
