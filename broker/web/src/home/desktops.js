/** The part of the page that shows desktops. */
import { fill, h, keyed, write } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { sentence } from "../lib/sentences.js";
import { add } from "./actions.js";
import { card } from "./card.js";
import { DEFAULT_DESKTOP } from "../lib/lines.js";
import { Doorbell, showShares } from "./shares.js";

/** Milliseconds between two looks at the clock. */
const TICK = 1_000;

/** All desktops as cards; `update()` when the data changed, `close()` when it goes. */
export function desktopsView(me, data) {
  const cards = h("div", { class: "cards" });
  const empty = h("div", { class: "empty stack" });
  const quiet = h("span", { class: "soft small", role: "status" });
  const make = h(
    "button",
    { type: "button", onclick: () => add(data) },
    icon("plus"),
    t("New desktop"),
  );
  const doorbell = new Doorbell();
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      target.inSight = isIntersecting;
      if (isIntersecting) target.explain();
    }
  });
  let sharesOpen = null;

  const share =
    me.allowed.includes("share") &&
    ((desktop) => {
      sharesOpen = showShares(data, desktop, () => {
        sharesOpen = null;
      });
    });

  const element = h(
    "main",
    { class: "page stack" },
    h(
      "div",
      { class: "row apart" },
      h("h1", null, t("Your desktops")),
      h("div", { class: "row" }, quiet, make),
    ),
    cards,
    empty,
  );

  function update() {
    write(
      quiet,
      data.problem
        ? sentence(data.problem)
        : data.live
          ? ""
          : t("Not live just now; looked at every few seconds."),
    );
    quiet.hidden = quiet.textContent === "";
    if (data.desktops === null) {
      fill(empty, data.problem === null && h("p", { class: "soft" }, t("Loading …")));
      return;
    }
    const gone = new Set(cards.children);
    keyed(
      cards,
      inOrder(data.desktops),
      (desktop) => desktop.id,
      (desktop) => {
        const one = card(data, desktop, { share });
        watcher.observe(one);
        return one;
      },
      (one, desktop) => {
        gone.delete(one);
        one.update(desktop);
      },
    );
    for (const one of gone) one.close?.();
    empty.hidden = data.desktops.length > 0;
    if (!empty.hidden) fill(empty, none(data));
    sharesOpen?.();
    doorbell.update(data);
  }

  const timer = setInterval(() => {
    if (document.hidden || data.desktops === null) return;
    for (const one of cards.children) if (one.inSight) one.explain();
    update();
  }, TICK);

  return {
    element,
    update,
    close() {
      clearInterval(timer);
      watcher.disconnect();
      for (const one of cards.children) one.close?.();
    },
  };
}

const none = (data) => [
  h("p", null, t("You have no desktop yet.")),
  h(
    "p",
    { class: "soft" },
    t(
      "A desktop is a Linux computer of your own with a home that stays. It sleeps when nobody uses it.",
    ),
  ),
  h(
    "div",
    { class: "row" },
    h(
      "button",
      { type: "button", class: "primary", onclick: () => add(data) },
      icon("plus"),
      t("Make one"),
    ),
  ),
];

/** `desk-2` stands before `desk-10`. */
const byName = new Intl.Collator("en", { numeric: true }).compare;

/** The default one first, then by name. */
const inOrder = (desktops) =>
  [...desktops].sort(
    (a, b) => (b.name === DEFAULT_DESKTOP) - (a.name === DEFAULT_DESKTOP) || byName(a.name, b.name),
  );
