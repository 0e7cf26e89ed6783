/** What keeps a desktop awake, and what comes next, in full. */
import { open } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { ago, duration, moment } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { complain } from "../lib/notices.js";
import { SIGNAL_ORDER, nextWord, signalWord, stateWord } from "./telling.js";

/** Milliseconds: what is older is asked for anew. */
const FRESH = 2_000;

export async function showWhy(data, desktop) {
  const box = h("div", { class: "stack", role: "status" }, h("p", { class: "soft" }, t("The desktop is asked …")));
  const dialog = open({ title: t("What keeps “{name}” awake", { name: desktop.name }), wide: true }, box);
  try {
    const why = await data.explain(desktop, FRESH);
    if (why === null) dialog.close();
    else fill(box, explanation(why));
  } catch (problem) {
    dialog.close();
    complain(problem);
  }
}

/** The whole of it, for people; also for the admins' page. */
export function explanation(why) {
  const at = why.told_at ?? Date.now();
  return [
    h("p", null, h("span", { class: `state ${why.state}` }, stateWord(why.state)), " · ", nextWord(why.next, why.next_in)),
    why.reason && h("p", { class: "soft break" }, why.reason),
    why.state === "ready" && signals(why, at),
    why.changes.length > 0 && history(why.changes),
  ];
}

function signals(why, at) {
  const seen = (signal) => {
    if (signal === "keep") return why.kept_for > 0 ? t("for {duration} more", { duration: duration(why.kept_for) }) : t("no");
    const age = why.signals[signal];
    return age === undefined ? t("not seen") : ago(new Date(at - age * 1000).toISOString(), at);
  };
  const row = (signal) =>
    h(
      "tr",
      { class: signal === why.counts ? "counts" : null },
      h("td", null, signalWord(signal)),
      h("td", { class: "nowrap" }, seen(signal), signal === why.counts && h("span", { class: "tag" }, t("this counts"))),
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
    const due = change.due_at === null ? t("nothing by itself") : `${stepWord(change.next)} ${moment(change.due_at)}`;
    return h("li", null, h("span", { class: "soft" }, moment(change.at)), ` · ${signalWord(change.signal)} → ${due}`);
  };
  return h("details", null, h("summary", null, t("How that changed lately")), h("ul", { class: "plain small stack tight" }, changes.map(line)));
}

const stepWord = (step) => (step === "stop" ? t("stop at") : t("sleep at"));
