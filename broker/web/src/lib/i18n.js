/** Words in the reader's language. English sentences are the keys; dictionaries give the others. */

import { COMMON } from "./zh.js";

/** What can be chosen, as the chooser calls it. */
export const LANGUAGES = { en: "English", zh: "中文" };

const TAGS = { en: "en", zh: "zh-CN" };
const KEPT = "desk.language";
const words = { zh: { ...COMMON } };
const listeners = new Set();
let chosen = first();

function first() {
  const wanted = [remembered(), ...(globalThis.navigator?.languages ?? [])];
  for (const one of wanted) {
    const short = String(one ?? "")
      .slice(0, 2)
      .toLowerCase();
    if (short in LANGUAGES) return short;
  }
  return "en";
}

function remembered() {
  try {
    return globalThis.localStorage?.getItem(KEPT) ?? null;
  } catch {
    return null; // Storage can be forbidden; then the browser's language counts.
  }
}

/** `en` or `zh`. */
export const language = () => chosen;

/** For Intl and the attribute `lang`. */
export const locale = () => TAGS[chosen];

/** Add sentences: `{"English": "中文"}`. */
export function addWords(tongue, more) {
  Object.assign(words[tongue], more);
}

/** Whether there is a translation, or none is needed. */
export const known = (text) => chosen === "en" || text in words[chosen];

/** The sentence in the chosen language, with `{name}` replaced by `values.name`. */
export function t(text, values = {}) {
  const found = words[chosen]?.[text] ?? text;
  return found.replace(/\{(\w+)\}/g, (whole, name) =>
    Object.hasOwn(values, name) ? String(values[name]) : whole,
  );
}

/** `one` or `many` by the number, which both can name as `{n}`. */
export function count(n, one, many, values = {}) {
  const shown = new Intl.NumberFormat(locale()).format(n);
  return t(n === 1 ? one : many, { n: shown, ...values });
}

/** Choose and remember; everything that listens is told. */
export function choose(tongue) {
  chosen = tongue;
  try {
    localStorage.setItem(KEPT, tongue);
  } catch {
    // Then it holds for this page alone.
  }
  translate();
  for (const listener of listeners) listener();
}

/** Call `listener` when another language is chosen. */
export function onLanguage(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Put words to what says which: `data-t` is its text, `data-t-label` its label and tip. */
export function translate(root = document) {
  if (root === document) document.documentElement.lang = locale();
  for (const one of root.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const one of root.querySelectorAll("[data-t-label]")) {
    one.setAttribute("aria-label", t(one.dataset.tLabel));
    one.title = t(one.dataset.tLabel);
  }
}
