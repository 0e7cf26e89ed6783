/** The head of each page: what Desk is, where one is, who one is, which language. */
import { h } from "./dom.js";
import { LANGUAGES, choose, language, t } from "./i18n.js";
import { brand, icon } from "./icons.js";
import { menu } from "./menu.js";

/** A chooser of the language. */
export function languages() {
  const options = Object.entries(LANGUAGES).map(([tongue, name]) =>
    h("option", { value: tongue, lang: tongue, selected: tongue === language() }, name),
  );
  return h(
    "select",
    { "aria-label": t("Language"), onchange: (event) => choose(event.target.value) },
    options,
  );
}

/**
 * `tabs` are `[fragment, label]`; `current` is one of the fragments, and names the page in the
 * browser's tab; `end` stands at the right.
 */
export function header({ tabs = [], current = null, end = [] } = {}) {
  const here = tabs.find(([fragment]) => fragment === current)?.[1];
  document.title = here ? `${here} · Desk` : "Desk";
  const links = tabs.map(([fragment, label]) =>
    h("a", { href: `#${fragment}`, "aria-current": fragment === current ? "page" : null }, label),
  );
  return h(
    "header",
    { class: "bar" },
    h(
      "div",
      null,
      h("a", { class: "brand", href: "/" }, brand(), "Desk"),
      tabs.length > 0 && h("nav", { class: "tabs", "aria-label": t("Parts of this page") }, links),
      h("div", { class: "end" }, end, languages()),
    ),
  );
}

/** Who is signed in, and the way out; `items` are what a menu has, besides. */
export function account(me, items, signOut) {
  const face = [h("span", { class: "who" }, me.user), icon("down")];
  return menu(
    t("Account"),
    () => [...items, { label: t("Sign out"), icon: "power", act: signOut }],
    { face },
  );
}
