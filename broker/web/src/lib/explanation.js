/** What keeps a session awake, and what comes next, in full. */
import { h } from "./dom.js";
import { ago, duration, moment } from "./format.js";
import { t } from "./i18n.js";
import { SIGNAL_ORDER, nextWord, signalWord, stateWord } from "./telling.js";

/** States in which something comes next by itself, or nothing does. */
const JUDGED = new Set(["ready", "frozen"]);

/** Of what `/sessions/{id}/why` answered; `told_at` is when, in milliseconds. */
export function explanation(why) {
  const at = why.told_at ?? Date.now();
  return [
    h(
      "p",
      null,
      h("span", { class: `state ${why.state}` }, stateWord(why.state)),
      JUDGED.has(why.state) && ` · ${nextWord(why.next, why.next_in)}`,
    ),
    why.reason && h("p", { class: "soft break" }, why.reason),
    why.state === "ready" && signals(why, at),
    why.changes.length > 0 && history(why.changes),
  ];
}

function signals(why, at) {
  const seen = (signal) => {
    if (signal === "keep")
      return why.kept_for > 0
        ? t("for {duration} more", { duration: duration(why.kept_for) })
        : t("no");
    const age = why.signals[signal];
    return age === undefined ? t("not seen") : ago(new Date(at - age * 1000).toISOString(), at);
  };
  const row = (signal) =>
    h(
      "tr",
      { class: signal === why.counts ? "counts" : null },
      h("td", null, signalWord(signal)),
      h(
        "td",
        null,
        seen(signal),
        signal === why.counts && h("span", { class: "tag" }, t("this counts")),
      ),
    );
  return h(
    "table",
    { class: "why" },
    h("thead", null, h("tr", null, h("th", null, t("What counts")), h("th", null, t("Last seen")))),
    h("tbody", null, SIGNAL_ORDER.map(row)),
  );
}

function history(changes) {
  const line = (change) => {
    const due =
      change.due_at === null
        ? t("nothing by itself")
        : `${stepWord(change.next)} ${moment(change.due_at)}`;
    return h(
      "li",
      null,
      h("span", { class: "soft" }, moment(change.at)),
      ` · ${signalWord(change.signal)} → ${due}`,
    );
  };
  return h(
    "details",
    null,
    h("summary", null, t("How that changed lately")),
    h("ul", { class: "plain small stack tight" }, changes.map(line)),
  );
}

const stepWord = (step) => (step === "stop" ? t("stop at") : t("sleep at"));
