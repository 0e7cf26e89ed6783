/** What the page knows of its user's desktops, kept up by events, or by asking where none come. */
import { api, events, list } from "../lib/api.js";

/** Milliseconds. */
const SOON = 400;
const LIVE = 60_000;
const POLLED = 10_000;
const WHY_AGAIN = 60_000;

/** `changed(data)` is called whenever something is known anew. */
export class Data {
  /** As the API lists them, by name. */
  desktops = null;
  /** By desktop. */
  sessions = new Map();
  /** By desktop, lists. */
  shares = new Map();
  /** By session. */
  whys = new Map();
  /** Desktops that a start was asked for, and when. */
  asked = new Map();
  live = false;
  /** Why the last look told less than all; null when it told all. */
  problem = null;

  /** By session, when its desktop was last asked. */
  #explained = new Map();
  #me;
  #changed;
  #timer = null;
  #due = Infinity;
  #asking = null;
  #again = false;
  #end;

  constructor(me, changed) {
    this.#me = me;
    this.#changed = changed;
    this.#end = events(() => this.soon(), { onState: (state) => this.#state(state) });
    this.refresh();
  }

  close() {
    clearTimeout(this.#timer);
    this.#end();
    this.#changed = () => {};
  }

  session(desktop) {
    return this.sessions.get(desktop.id) ?? null;
  }

  why(desktop) {
    return this.whys.get(this.session(desktop)?.id) ?? null;
  }

  /** Ask again in a moment: several events are one question. */
  soon() {
    this.#plan(SOON);
  }

  /** Ask now; never twice at a time. */
  async refresh() {
    if (this.#asking !== null) {
      this.#again = true;
      return this.#asking;
    }
    this.#asking = this.#ask();
    try {
      await this.#asking;
    } finally {
      this.#asking = null;
      this.#due = Infinity;
      this.#plan(this.live ? LIVE : POLLED);
      if (this.#again) this.soon();
      this.#again = false;
    }
  }

  /** Ask a desktop itself what keeps it awake, unless it was asked lately. */
  explain(desktop, longest = WHY_AGAIN) {
    const session = this.session(desktop);
    if (session === null) return Promise.resolve(null);
    const last = this.#explained.get(session.id);
    // Whoever asks meanwhile waits for the same answer.
    if (last && Date.now() - last.at < longest) return last.answer;
    const answer = this.#explain(desktop, session);
    this.#explained.set(session.id, { at: Date.now(), answer });
    return answer;
  }

  async #explain(desktop, session) {
    const why = await api("GET", `/sessions/${session.id}/why`);
    why.told_at = Date.now();
    this.whys.set(session.id, why);
    this.sessions.set(desktop.id, {
      ...session,
      next: why.next,
      next_in: why.next_in,
      told_at: why.told_at,
    });
    this.#changed(this);
    return why;
  }

  /** What is known was changed here. */
  touch() {
    this.#changed(this);
  }

  #state(state) {
    this.live = state === "live";
    if (this.live) this.soon();
    this.#changed(this);
  }

  #plan(delay) {
    const due = Date.now() + delay;
    if (due >= this.#due) return;
    this.#due = due;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (document.hidden ? this.#wait() : this.refresh()), delay);
  }

  #wait() {
    const look = () => this.refresh();
    document.addEventListener("visibilitychange", look, { once: true });
  }

  /** Each list by itself: what one does not tell leaves the others as they are. */
  async #ask() {
    const mine = `?user=${encodeURIComponent(this.#me.user)}`;
    const at = Date.now();
    const shares = this.#me.allowed.includes("share") ? list(`/shares${mine}`).catch(none) : [];
    const asked = [list(`/desktops${mine}`), list(`/sessions${mine}`), shares];
    const told = await Promise.allSettled(asked);
    const refusal = told.find((one) => one.status === "rejected")?.reason ?? null;
    if (refusal !== null && refusal.name !== "Problem") throw refusal;
    this.problem = refusal?.status === 401 ? null : refusal;
    this.#take(...told.map((one) => one.value ?? null), at);
  }

  #take(desktops, sessions, shares, at) {
    if (desktops !== null) this.desktops = desktops;
    if (shares !== null) this.shares = byDesktop(shares);
    if (sessions !== null) this.#run(sessions, at);
    this.#changed(this);
  }

  #run(sessions, at) {
    this.sessions = new Map(
      sessions.map((session) => [session.desktop_id, this.#fresher({ ...session, told_at: at })]),
    );
    const living = new Set(sessions.map((session) => session.id));
    for (const id of this.whys.keys()) if (!living.has(id)) this.whys.delete(id);
    for (const id of this.#explained.keys()) if (!living.has(id)) this.#explained.delete(id);
  }

  /** The list is told without asking desktops: what one said itself lately is nearer the truth. */
  #fresher(session) {
    const why = this.whys.get(session.id);
    if (!why || why.state !== session.state || session.told_at - why.told_at > WHY_AGAIN)
      return session;
    if ((session.next_in ?? Infinity) > (why.next_in ?? Infinity)) return session;
    return { ...session, next: why.next, next_in: why.next_in, told_at: why.told_at };
  }
}

/** Who may not share has nothing shared. */
function none(problem) {
  if (problem.status === 403 || problem.status === 404) return [];
  throw problem;
}

function byDesktop(shares) {
  const groups = new Map();
  for (const share of shares) {
    groups.set(share.desktop_id, [...(groups.get(share.desktop_id) ?? []), share]);
  }
  return groups;
}
