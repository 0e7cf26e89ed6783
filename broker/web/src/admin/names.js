/** What ids of users, desktops and sessions are called: the audit names ids alone. */
import { list } from "../lib/api.js";

export class Names {
  #names = new Map();

  /** Ask once; what is not told stays an id. */
  async load() {
    const asked = [list("/users"), list("/desktops?all=1"), list("/sessions")];
    const [users, desktops, sessions] = (await Promise.allSettled(asked)).map(
      (one) => one.value ?? [],
    );
    for (const user of users) this.#names.set(user.id, user.name);
    for (const desktop of desktops)
      this.#names.set(desktop.id, `${desktop.user} / ${desktop.name}`);
    for (const one of sessions) this.#names.set(one.id, `${one.user} / ${one.desktop}`);
  }

  /** The name of an id; null when there is none. */
  of(id) {
    return this.#names.get(id) ?? null;
  }

  /** A value of an entry, by name where it is an id. */
  shown(value) {
    return this.#names.get(value) ?? String(value);
  }
}
