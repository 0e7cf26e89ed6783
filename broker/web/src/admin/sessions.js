/** Who is here: all live sessions in a table that is searched and sorted, and stays so while it lives. */
import { fill, h, keyed, set, write } from "../lib/dom.js";
import { ago, bytes, duration, number } from "../lib/format.js";
import { Growing } from "../lib/growing.js";
import { count, t } from "../lib/i18n.js";
import { menu } from "../lib/menu.js";
import { kindWord, left, nextWord, stateWord } from "../lib/telling.js";
import { deeds, nameOf } from "./deeds.js";
import { showDetails } from "./details.js";
import { filtered, sorted, totals } from "./rows.js";

const COLUMNS = [
  ["user", "Who"],
  ["state", "State"],
  ["attached", "Connected"],
  ["idle", "Idle"],
  ["next", "Next"],
  ["cpu", "CPU"],
  ["memory", "Memory"],
  ["display", "Display, port"],
];
const JUDGED = new Set(["ready", "frozen"]);
const NUMBERS = new Set(["cpu", "memory", "display"]);
const DESCENDING_FIRST = new Set(["attached", "cpu", "memory", "idle"]);
const KINDS = [
  ["", "All"],
  ["inside", "Somebody connected"],
  ["ready", "Awake"],
  ["frozen", "Asleep"],
  ["starting", "Starting"],
  ["stopping", "Stopping"],
  ["outdated", "Old image"],
];

/** What was chosen stays while one looks at other parts of the page. */
const chosen = { query: "", kind: "", column: "user", descending: false };

export function sessionsView(data) {
  const made = new Map();
  const growing = new Growing(() => update());
  const body = h("tbody");
  const found = h("span", { class: "soft small", role: "status" });
  const sums = h("div", { class: "sums" });
  const none = h("p", { class: "soft empty" });
  const search = h("input", {
    type: "search",
    value: chosen.query,
    placeholder: t("Name, address, client, :display …"),
    "aria-label": t("Search sessions"),
    oninput: () => {
      chosen.query = search.value;
      anew();
    },
  });
  const kind = h(
    "select",
    {
      "aria-label": t("Which sessions"),
      onchange: () => {
        chosen.kind = kind.value;
        anew();
      },
    },
    KINDS.map(([value, label]) =>
      h("option", { value, selected: value === chosen.kind }, t(label)),
    ),
  );
  const heads = COLUMNS.map(([column, label]) => head(column, label, anew));
  const table = h(
    "table",
    { class: "cards sessions" },
    h(
      "thead",
      null,
      h("tr", null, heads, h("th", null, h("span", { class: "unseen" }, t("Actions")))),
    ),
    body,
  );

  function anew() {
    growing.anew();
    update();
  }

  function update() {
    for (const one of heads) mark(one);
    if (data.rows === null) return fill(none, t("Loading …"));
    fill(sums, summary(data));
    const rows = sorted(
      filtered(data.rows, chosen.query, chosen.kind),
      chosen.column,
      chosen.descending,
    );
    write(found, count(rows.length, "{n} session", "{n} sessions"));
    write(none, rows.length === 0 ? t("There is none like that.") : "");
    const now = Date.now();
    keyed(
      body,
      growing.shown(rows),
      (row) => row.id,
      (row) => rowOf(row, data, made),
      (element, row) => element.update(row, now),
    );
    if (made.size > data.rows.length) forget(made, data.rows);
    return undefined;
  }

  const element = h(
    "div",
    { class: "stack" },
    sums,
    h("div", { class: "row tools" }, search, kind, found),
    h("div", { class: "card scrolled" }, table, none),
    growing.end,
  );
  return { element, update, close: () => growing.close() };
}

/** Rows that were made are kept while their session lives: a search hides and shows them often. */
function forget(made, rows) {
  const living = new Set(rows.map((row) => row.id));
  for (const id of made.keys()) if (!living.has(id)) made.delete(id);
}

function head(column, label, anew) {
  const act = () => {
    const same = chosen.column === column;
    chosen.descending = same ? !chosen.descending : DESCENDING_FIRST.has(column);
    chosen.column = column;
    anew();
  };
  const button = h("button", { type: "button", class: "sort", onclick: act }, t(label));
  return h(
    "th",
    { class: NUMBERS.has(column) ? "number" : null, scope: "col", "data-column": column },
    button,
  );
}

function mark(one) {
  const mine = one.dataset.column === chosen.column;
  set(one, "aria-sort", mine ? (chosen.descending ? "descending" : "ascending") : null);
}

function rowOf(first, data, made) {
  const known = made.get(first.id);
  if (known) return known;
  let row = first;
  const who = h("button", { type: "button", class: "link", onclick: () => showDetails(row) });
  const state = h("span", { class: "state" });
  const old = h("span", { class: "tag warn", hidden: true }, t("old image"));
  const people = h("span");
  const from = h("span", { class: "soft small" });
  const cells = Object.fromEntries(
    COLUMNS.map(([column, label]) => [
      column,
      h("td", { "data-label": t(label), class: NUMBERS.has(column) ? "number" : null }),
    ]),
  );
  cells.user.append(who);
  const display = h("div");
  const port = h("div", { class: "soft small" });
  cells.display.append(h("div", null, display, port));
  set(cells.user, "class", "head");
  cells.state.append(h("div", null, state, " ", old));
  cells.attached.append(h("div", null, people, from));
  const actions = menu(
    t("Actions for {name}", { name: nameOf(first) }),
    () => deeds(row, data, showDetails),
    { small: true },
  );
  const element = h("tr", null, Object.values(cells), h("td", { class: "actions" }, actions));

  element.update = (next, now) => {
    row = next;
    write(who, nameOf(row));
    set(state, "class", `state ${row.state}`);
    write(state, stateWord(row.state));
    set(state, "title", ago(row.changed_at, now));
    old.hidden = row.outdated !== true;
    write(
      people,
      row.attached === 0
        ? t("nobody")
        : `${number(row.attached)} · ${row.kinds.map(kindWord).join(t(", "))}`,
    );
    set(people, "class", row.attached === 0 ? "soft" : null);
    write(
      from,
      row.clients
        .map((one) => t("{address}, {ago}", { address: one.from, ago: ago(one.since, now) }))
        .join("; "),
    );
    write(
      cells.idle,
      row.idle === null ? "" : duration(row.idle + (now - row.told_at) / 1000, "short"),
    );
    write(cells.next, !JUDGED.has(row.state) ? "" : nextWord(row.next, left(row, now), "short"));
    write(cells.cpu, row.cpu === null || row.cpu === undefined ? "" : number(row.cpu, 2));
    write(cells.memory, row.memory === null || row.memory === undefined ? "" : bytes(row.memory));
    write(display, row.display === null ? "" : `:${row.display}`);
    write(port, row.port ?? "");
    set(cells.display, "data-empty", row.display === null);
  };
  made.set(first.id, element);
  return element;
}

function summary(data) {
  const all = totals(data.rows);
  const starts = data.status?.starts;
  const one = (value, label) =>
    h("div", { class: "sum" }, h("b", null, value), h("span", { class: "soft small" }, label));
  return [
    one(number(all.people), count(all.people, "person connected", "people connected")),
    one(number(all.awake), t("awake")),
    one(number(all.asleep), t("asleep")),
    starts &&
      one(`${number(starts.under_way)} + ${number(starts.waiting)}`, t("starting + waiting")),
    one(number(all.cpu, 1), t("cores in use")),
    one(bytes(all.memory), t("memory in use")),
  ];
}
