/** What the broker says while a desktop starts, in the reader's language. */
import { known, language, t } from "../lib/i18n.js";

/** The broker's sentences that name something, and what they are without it. */
const FORMS = [
  [/^Starting your desktop /, "Starting your desktop …"],
  [/^Your desktop .* waits for its turn: number (\d+) /, "Your desktop waits for its turn: number {it} in the queue …"],
  [/^Fetching your home from the archive, (.+) …$/, "Fetching your home from the archive, {it} …"],
];

export function progressWords(sentence) {
  if (language() === "en" || known(sentence)) return t(sentence);
  for (const [form, words] of FORMS) {
    const found = form.exec(sentence);
    if (found !== null) return t(words, { it: found[1] });
  }
  return t("Starting …");
}
