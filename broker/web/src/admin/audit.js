/** What was changed, when, by whom: newest first, older ones on demand, new ones as they come. */
import { api } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { moment } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { busy, complain } from "../lib/notices.js";
import { Names } from "./names.js";

const PAGE = 100;

/** Rows that are kept while new ones come in. */
const MOST = 1_000;

const chosen = { user: "", action: "" };

export function auditView() {
  const body = h("tbody");
  const none = h("p", { class: "soft empty" });
  const older = h("button", { type: "button", onclick: () => busy(older, more) }, t("Older ones"));
  const names = new Names();
  const known = names.load();
  let last = null;
  let asked = 0;

  async function load(before) {
    const mine = ++asked;
    const query = new URLSearchParams({ limit: PAGE });
    if (before !== null) query.set("before", before);
    if (chosen.user) query.set("user", chosen.user);
    const { items, next } = await api("GET", `/audit?${query}`);
    await known;
    if (mine !== asked) return;
    if (before === null) fill(body);
    body.append(...items.filter(wanted).map((entry) => row(entry, names)));
    last = items.at(-1)?.seq ?? last;
    older.hidden = next === null;
    none.textContent = body.children.length === 0 ? t("There is none like that among these.") : "";
  }

  const more = () => load(last);
  const anew = () => load(null).catch(missing);

  /** A user who is not there has done nothing. */
  function missing(problem) {
    if (problem.status !== 404) return complain(problem);
    fill(body);
    older.hidden = true;
    none.textContent = t("There is no such user.");
    return undefined;
  }

  const filter = (name, label, placeholder) => {
    const input = h("input", {
      type: "search",
      value: chosen[name],
      "aria-label": label,
      placeholder,
    });
    let timer;
    input.addEventListener("input", () => {
      chosen[name] = input.value.trim();
      clearTimeout(timer);
      timer = setTimeout(anew, 300);
    });
    return input;
  };

  anew();
  const columns = ["When", "Who", "What", "Where from", "Subject", "More"];
  const element = h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "row tools" },
      filter("user", t("User"), t("A user's name, whole")),
      filter("action", t("What was done"), t("What was done: session. …")),
    ),
    h(
      "div",
      { class: "card scrolled" },
      h(
        "table",
        { class: "cards audit" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            columns.map((one) => h("th", { scope: "col" }, t(one))),
          ),
        ),
        body,
      ),
      none,
    ),
    h("div", { class: "row" }, older),
  );

  return {
    element,
    update() {},
    heard(entry) {
      const ofUser = chosen.user === "" || entry.actor === `user:${chosen.user}`;
      if (!ofUser || !wanted(entry)) return;
      const first = row(entry, names);
      first.classList.add("fresh");
      body.prepend(first);
      none.textContent = "";
      if (body.children.length > MOST) {
        body.lastElementChild.remove();
        last = Number(body.lastElementChild.dataset.seq);
        older.hidden = false;
      }
    },
    close() {},
  };
}

const wanted = (entry) => entry.action.includes(chosen.action);

function row(entry, names) {
  const cell = (label, value, kind = null) =>
    h("td", { "data-label": t(label), class: kind }, value);
  const by =
    entry.proof === null
      ? []
      : [h("div", { class: "soft small proof", title: entry.proof }, entry.proof)];
  return h(
    "tr",
    { "data-seq": entry.seq },
    cell("When", h("span", { class: "nowrap", title: entry.at }, moment(entry.at, "medium"))),
    cell("Who", h("div", null, entry.actor.replace(/^user:/, ""), by)),
    cell("What", h("code", null, entry.action)),
    cell("Where from", entry.origin ?? ""),
    cell("Subject", subject(entry.subject, names)),
    cell("More", details(entry.detail, names)),
  );
}

/** By name where it has one, and by its id. */
function subject(id, names) {
  const name = names.of(id);
  const code = h("code", { class: "small" }, id);
  return name === null
    ? code
    : h("div", { class: "break" }, name, h("div", { class: "soft" }, code));
}

/** What else an entry says: `key: value`, each; ids by their names. */
const details = (detail, names) =>
  Object.entries(detail)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key}: ${names.shown(value)}`)
    .join(" · ");
