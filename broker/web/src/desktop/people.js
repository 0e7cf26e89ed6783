/** Who else is in this desktop, whom it is shown to, and who asks. */
import { events, list } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { ago } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Doorbell, onlookers, showShares } from "../home/shares.js";
import { tool, word } from "./bar.js";

/** Milliseconds: several events are one question, and where none come it is asked again. */
const SOON = 300;
const POLLED = 10_000;

/** As the sharing of the user's page knows it: `desktops`, `shares`, `refresh`. */
export class People {
  desktops;
  shares = new Map();
  tool = tool("share", "People", { onclick: () => this.#show() });
  #desktop;
  #bell = new Doorbell();
  #end = null;
  #live = false;
  #timer = null;
  #update = null;

  constructor(desktop) {
    this.#desktop = desktop;
    this.desktops = [desktop];
  }

  /** Begin to listen. */
  watch() {
    if (this.#end === null) {
      this.#end = events((event) => this.#heard(event), {
        onState: (state) => {
          this.#live = state === "live";
        },
      });
    }
    this.refresh();
  }

  #heard(event) {
    if (!/^(share|guest)/.test(event.action ?? "")) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), SOON);
  }

  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.shares.set(this.#desktop.id, await list(`/shares?desktop=${this.#desktop.id}`));
      this.#bell.update(this);
      this.#update?.();
      this.tool.classList.toggle("busy", onlookers(this, this.#desktop) !== "");
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
    }
    this.#timer = setTimeout(() => this.refresh(), this.#live ? 6 * POLLED : POLLED);
  }

  #show() {
    const inside = h("ul", { class: "plain stack tight" });
    this.#update = showShares(this, this.#desktop, () => {
      this.#update = null;
    });
    const dialog = document.querySelector("dialog[open] > .stack");
    dialog?.append(word("h3", "Who is in it now"), inside);
    this.#present(inside);
    this.refresh();
  }

  async #present(place) {
    const all = await list(`/attachments`);
    const here = all.filter((one) => one.desktop === this.#desktop.name);
    fill(
      place,
      here.map((one) =>
        h("li", null, h("b", null, one.client || one.kinds.join(", ")), " ", h("span", { class: "soft" }, `${one.kinds.join(", ")} · ${one.from} · ${ago(one.since)}`)),
      ),
    );
    if (here.length === 0) fill(place, h("li", { class: "soft" }, t("Nobody but you.")));
  }

  close() {
    clearTimeout(this.#timer);
    this.#end?.();
    this.#bell.update({ desktops: [] });
  }
}
