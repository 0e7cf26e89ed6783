/** What the page knows of all sessions, kept up by events, or by asking where none come. */
import { api, events, list } from "../lib/api.js";
import { joined } from "./rows.js";

/** Milliseconds: between an event and the question, between two questions, while events come. */
const SOON = 600;
const LEAST = 2_000;
const LIVE = 10_000;
const POLLED = 5_000;

export class AdminData {
  /** Sessions with their clients; null until they are known. */
  rows = null;
  /** As `GET /status` answers; null until it is known. */
  status = null;
  maintenance = null;
  live = false;
  /** Why the last look told less than all; null when it told all. */
  problem = null;

  #changed;
  #heard;
  #timer = null;
  #due = Infinity;
  #asked = 0;
  #asking = false;
  #end;

  /** `changed()` after each look; `heard(entry)` with each entry of the audit. */
  constructor(changed, heard) {
    this.#changed = changed;
    this.#heard = heard;
    this.#end = events((entry) => this.#event(entry), { onState: (state) => this.#state(state) });
    this.refresh();
  }

  close() {
    clearTimeout(this.#timer);
    this.#end();
    this.#changed = () => {};
    this.#heard = () => {};
  }

  /** Look now, or in a moment when that was done just now. */
  refresh() {
    this.#plan(Math.max(0, this.#asked + SOON - Date.now()));
  }

  #event(entry) {
    this.#heard(entry);
    this.#plan(Math.max(SOON, this.#asked + LEAST - Date.now()));
  }

  #state(state) {
    this.live = state === "live";
    if (this.live) this.refresh();
    this.#changed();
  }

  #plan(delay) {
    const due = Date.now() + delay;
    if (due >= this.#due) return;
    this.#due = due;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), delay);
  }

  async #look() {
    if (document.hidden) {
      document.addEventListener("visibilitychange", () => this.#look(), { once: true });
      return;
    }
    if (this.#asking) return;
    this.#asking = true;
    this.#asked = Date.now();
    await this.#ask();
    this.#asking = false;
    this.#due = Infinity;
    this.#plan(this.live ? LIVE : POLLED);
    this.#changed();
  }

  /** Each by itself: what is not told now leaves the rest as it is. */
  async #ask() {
    const asked = [
      list("/sessions"),
      list("/attachments"),
      api("GET", "/status"),
      api("GET", "/maintenance"),
    ];
    const told = await Promise.allSettled(asked);
    const refusal = told.find((one) => one.status === "rejected")?.reason ?? null;
    if (refusal !== null && refusal.name !== "Problem") throw refusal;
    this.problem = refusal?.status === 401 ? null : refusal;
    const [sessions, attachments, status, maintenance] = told.map((one) => one.value ?? null);
    const at = Date.now();
    if (sessions !== null) {
      this.rows = joined(
        sessions.map((session) => ({ ...session, told_at: at })),
        attachments ?? [],
      );
    }
    this.status = status ?? this.status;
    this.maintenance = maintenance ?? this.maintenance;
  }
}
