/** A card with a list that is asked for, shown, and asked for again after each change. */
import { fill, h } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { complain } from "./notices.js";
import { sentence } from "./sentences.js";

/**
 * `load()` answers what `show(found, again)` makes elements of; `again()` loads anew. `action` is
 * `{label, act(again)}`.
 */
export function section({ title, text = null, action = null, load, show }) {
  const box = h("div", { class: "stack" }, h("p", { class: "soft" }, t("Loading …")));

  async function again() {
    try {
      fill(box, show(await load(), again));
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
      fill(box, h("p", { class: "note bad" }, icon("alert"), h("span", null, sentence(problem))));
    }
  }

  again();
  const button =
    action &&
    h(
      "button",
      { type: "button", class: "small", onclick: () => action.act(again) },
      icon("plus"),
      action.label,
    );
  return h(
    "section",
    { class: "card padded stack" },
    h("div", { class: "row apart" }, h("h2", null, title), button),
    text && h("p", { class: "soft" }, text),
    box,
  );
}

/** Do it, complain when it is refused, load anew in either case. */
export async function then(again, deed) {
  try {
    await deed();
  } catch (problem) {
    complain(problem);
  }
  await again();
}

/** A list of things, each `{head, lines, end}`; `none` is said when there is nothing. */
export function things(items, none) {
  if (items.length === 0) return h("p", { class: "soft" }, none);
  return h(
    "ul",
    { class: "plain things" },
    items.map(({ head, lines, end }) =>
      h(
        "li",
        null,
        h(
          "div",
          { class: "what" },
          h("div", { class: "break" }, head),
          lines.filter(Boolean).map((line) => h("div", { class: "soft small break" }, line)),
        ),
        h("div", { class: "row" }, end),
      ),
    ),
  );
}

export const smallButton = (label, act, kind = "") =>
  h("button", { type: "button", class: `small ${kind}`, onclick: act }, label);
