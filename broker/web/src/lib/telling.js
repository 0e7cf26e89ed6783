/** What is told of a desktop: its state, its sleep and why, in words. */
import { ago, bytes, clock, duration, moment } from "./format.js";
import { count, t } from "./i18n.js";

const STATES = {
  ready: "Awake",
  frozen: "Asleep",
  starting: "Starting",
  stopping: "Stopping",
  stopped: "Off",
  archived: "In the archive",
};

const SIGNALS = {
  input: "keyboard or mouse in the desktop",
  typing: "typing in a terminal",
  data: "data sent by a client",
  files: "files over sftp",
  job: "its programs compute",
  transfer: "data sent to a client",
  keep: "somebody asked to keep it",
  arrived: "somebody connected",
  woke: "it was started or woken",
  age: "its age",
};

const KINDS = {
  shell: "a shell",
  exec: "a command",
  sftp: "files",
  xpra: "xpra",
  forward: "a forward",
  browser: "a browser",
  guest: "a guest",
};

export const SIGNAL_ORDER = Object.keys(SIGNALS).filter((signal) => signal !== "age");

export const stateWord = (state) => t(STATES[state] ?? state);
export const signalWord = (signal) => t(SIGNALS[signal] ?? signal);
export const kindWord = (kind) => t(KINDS[kind] ?? kind);

/** What will become of it by itself. `rest` is seconds, null when nothing will. */
export function nextWord(next, rest, unitDisplay = "long") {
  if (next === null || rest === null) return t("Stays awake by itself");
  const values = { duration: duration(rest, unitDisplay) };
  return next === "freeze" ? t("Sleeps in {duration}", values) : t("Stops in {duration}", values);
}

/** One line on what a desktop does. `why` is null until it was asked; `now` is milliseconds. */
export function told(desktop, session, why, now) {
  switch (desktop.state) {
    case "ready":
      return session === null ? "" : nextWord(session.next, left(session, now));
    case "frozen":
      return session === null ? "" : nextWord(session.next, left(session, now));
    case "starting":
      return t("It can be opened already.");
    case "stopping":
      return t("Its home is kept.");
    case "archived":
      return archived(desktop);
    default:
      return t("Nothing runs. Its home is kept.");
  }
}

const archived = (desktop) =>
  t("Put away {when}, {size}. A start fetches it back.", {
    when: desktop.archived_at ? moment(desktop.archived_at) : "",
    size: bytes(desktop.archive_size ?? 0),
  });

/** Seconds until the next step, counted on from when the session was told. */
export const left = (session, now) =>
  session.next_in === null ? null : Math.max(0, session.next_in - (now - session.told_at) / 1000);

/** What that hangs on: a line, or none. */
export function because(desktop, session, why, now) {
  if (desktop.state === "frozen" && session !== null) {
    return t("Asleep since {time}; windows stay as they are", {
      time: clock(session.changed_at, now),
    });
  }
  if (desktop.state !== "ready" || !why?.counts) return "";
  if (why.counts === "keep") {
    const until = new Date(why.told_at + why.kept_for * 1000).toISOString();
    return t("Kept until {time}", { time: clock(until, now) });
  }
  const age = why.signals[why.counts];
  if (age === undefined) return capital(signalWord(why.counts));
  const seen = new Date(why.told_at - age * 1000).toISOString();
  return t("{signal}, {ago}", { signal: capital(signalWord(why.counts)), ago: ago(seen, now) });
}

const capital = (text) => text.slice(0, 1).toLocaleUpperCase() + text.slice(1);

/** Who is in it. */
export function inside(session) {
  if (!session || session.attached === 0) return "";
  const kinds = session.kinds.map(kindWord).join(t(", "));
  return count(session.attached, "{n} connected: {kinds}", "{n} connected: {kinds}", { kinds });
}
