/** Live pictures of desktops: asked for while they are looked at, and no oftener than they change. */

/** Milliseconds. */
const AGAIN = 15_000;

/** Milliseconds that a desktop which has just started takes to draw itself. */
const DRAWN = 4_000;

const OK = 200;

const seen = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) seen.get(target)?.look(isIntersecting);
});

/** Shows the picture of the desktop `id` in `image` while it is awake and in sight. */
export class Picture {
  #image;
  #id;
  #state = null;
  #visible = false;
  #asked = 0;
  #timer = null;
  #url = null;

  constructor(image, id) {
    this.#image = image;
    this.#id = id;
    seen.set(image.parentElement, this);
    watcher.observe(image.parentElement);
  }

  /** A desktop that sleeps keeps its last picture; one that is off has none. */
  set state(state) {
    const began = this.#state !== null && this.#state !== state;
    this.#state = state;
    if (began && this.#awake) this.#asked = Date.now() + DRAWN - AGAIN;
    if (this.#awake) this.#plan();
    if (!["ready", "frozen"].includes(state)) this.#put(null);
  }

  get #awake() {
    return this.#state === "ready";
  }

  look(visible) {
    this.#visible = visible;
    if (visible) this.#plan();
  }

  close() {
    clearTimeout(this.#timer);
    watcher.unobserve(this.#image.parentElement);
    seen.delete(this.#image.parentElement);
    this.#put(null);
    this.#visible = false;
  }

  #plan() {
    if (this.#timer !== null || !this.#visible || !this.#awake) return;
    const wait = Math.max(0, this.#asked + AGAIN - Date.now());
    this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    this.#asked = Date.now();
    try {
      if (!document.hidden && this.#visible && this.#awake) {
        const answer = await fetch(`/pictures/${this.#id}`, { cache: "no-store" });
        if (answer.status === OK) this.#put(URL.createObjectURL(await answer.blob()));
      }
    } catch {
      // No network: the next one comes in its time.
    }
    this.#timer = null;
    this.#plan();
  }

  #put(url) {
    if (this.#url !== null) URL.revokeObjectURL(this.#url);
    this.#url = url;
    this.#image.hidden = url === null;
    this.#image.closest("article")?.toggleAttribute("data-picture", url !== null);
    if (url === null) this.#image.removeAttribute("src");
    else this.#image.src = url;
  }
}
