/** Times, durations and amounts, as the chosen language writes them. */
import { locale } from "./i18n.js";

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

const BYTES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** Intl's makers are slow: one for each language and form. */
const made = new Map();

function format(kind, options) {
  const key = `${kind} ${locale()} ${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new Intl[kind](locale(), options));
  return made.get(key);
}

const amount = (n, unit, unitDisplay, digits = 0) =>
  format("NumberFormat", {
    style: "unit",
    unit,
    unitDisplay,
    maximumFractionDigits: digits,
  }).format(n);

/** The largest unit that `seconds` fills, and how many of it. */
export function rounded(seconds) {
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return [unit, Math.round(seconds / size)];
}

/** `3 hours, 5 minutes`: at most two units, the second only beside few of the first. */
export function duration(seconds, unitDisplay = "long") {
  const whole = Math.max(0, Math.round(seconds));
  const at = UNITS.findIndex(([, size]) => whole >= size);
  if (at < 0) return amount(0, "second", unitDisplay);
  const [unit, size] = UNITS[at];
  const n = Math.floor(whole / size);
  const parts = [amount(n, unit, unitDisplay)];
  const next = UNITS[at + 1];
  if (next !== undefined && n < 10 && !(unit === "minute" && n > 1)) {
    const rest = Math.floor((whole % size) / next[1]);
    if (rest > 0) parts.push(amount(rest, next[0], unitDisplay));
  }
  return format("ListFormat", { type: "unit", style: "short" }).format(parts);
}

/** `5 minutes ago`, `in 2 hours`; `seconds` is below 0 for what was. */
export function relative(seconds) {
  if (Math.abs(seconds) < 1)
    return format("RelativeTimeFormat", { numeric: "auto" }).format(0, "second");
  const [unit, n] = rounded(seconds);
  return format("RelativeTimeFormat", { numeric: "always" }).format(n, unit);
}

/** How long ago `time` (ISO 8601) was. */
export const ago = (time, now = Date.now()) =>
  relative(Math.min(0, (Date.parse(time) - now) / 1000));

/** Date and time of day; `timeStyle` is medium where seconds matter. */
export const moment = (time, timeStyle = "short") =>
  format("DateTimeFormat", { dateStyle: "medium", timeStyle }).format(new Date(time));

/** The date alone. */
export const day = (time) =>
  format("DateTimeFormat", { dateStyle: "medium" }).format(new Date(time));

/** Time of day alone when it is today. */
export function clock(time, now = Date.now()) {
  const at = new Date(time);
  const today = at.toDateString() === new Date(now).toDateString();
  return today ? format("DateTimeFormat", { timeStyle: "short" }).format(at) : moment(time);
}

/** `1.5 GB`, by thousands. */
export function bytes(n) {
  let step = 0;
  let left = n;
  while (left >= 999.5 && step < BYTES.length - 1) {
    left /= 1000;
    step += 1;
  }
  return amount(left, BYTES[step], "short", left < 10 && step > 0 ? 1 : 0);
}

/** A plain number. */
export const number = (n, digits = 0) =>
  format("NumberFormat", { maximumFractionDigits: digits }).format(n);
