/** Everything that is known of one session. */
import { api } from "../lib/api.js";
import { open } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { explanation } from "../lib/explanation.js";
import { ago, bytes, duration, moment, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { sentence } from "../lib/sentences.js";
import { kindWord, stateWord } from "../lib/telling.js";
import { nameOf } from "./deeds.js";

export function showDetails(row) {
  const why = h(
    "div",
    { class: "stack", role: "status" },
    h("p", { class: "soft" }, t("The desktop is asked …")),
  );
  open(
    { title: nameOf(row), wide: true },
    facts(row),
    h("h3", null, t("Who is in it")),
    clients(row),
    h("h3", null, t("What keeps it awake")),
    why,
  );
  explain(row, why);
}

function facts(row) {
  const said = [
    [t("State"), `${stateWord(row.state)}, ${ago(row.changed_at)}`],
    [t("Began"), moment(row.created_at)],
    [t("CPU"), row.cpu === null ? null : t("{n} cores", { n: number(row.cpu, 2) })],
    [t("Memory"), row.memory === null ? null : bytes(row.memory)],
    [t("Display"), row.display === null ? null : `:${row.display}`],
    [t("Address"), row.address],
    [t("Port"), row.port],
    [t("Kept until"), row.kept_until && moment(row.kept_until)],
    [t("Session"), h("code", null, row.id)],
    [t("Desktop"), h("code", null, row.desktop_id)],
  ];
  return h(
    "dl",
    { class: "facts" },
    said
      .filter(([, value]) => value)
      .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

function clients(row) {
  if (row.clients.length === 0) return h("p", { class: "soft" }, t("Nobody."));
  const line = (one) =>
    h(
      "li",
      { class: "break" },
      h("b", null, one.kinds.map(kindWord).join(t(", "))),
      " ",
      h(
        "span",
        { class: "soft" },
        t("from {address}, since {ago}", { address: one.from, ago: ago(one.since) }),
      ),
      h(
        "div",
        { class: "soft small" },
        one.client,
        one.idle === null ? "" : ` · ${t("idle for {duration}", { duration: duration(one.idle) })}`,
      ),
    );
  return h("ul", { class: "plain stack tight" }, row.clients.map(line));
}

async function explain(row, box) {
  try {
    fill(box, explanation(await api("GET", `/sessions/${row.id}/why`)));
  } catch (problem) {
    if (problem.name !== "Problem") throw problem;
    fill(box, h("p", { class: "note warn" }, h("span", null, sentence(problem))));
  }
}
