/** A desktop as a card: its picture, what it does, what can be done. */
import { fill, h, set, write } from "../lib/dom.js";
import { duration } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { menu } from "../lib/menu.js";
import * as actions from "./actions.js";
import { Picture } from "./pictures.js";
import { onlookers } from "./shares.js";
import { because, inside, stateWord, told } from "../lib/telling.js";
import { showWhy } from "./why.js";

const LIVE = ["starting", "ready", "frozen"];
const FACES = { frozen: "moon", stopped: "power", archived: "power", ready: "screen" };

/** A card; `update(desktop)` brings it up to date, `close()` lets go of its picture. */
export function card(data, first, { share }) {
  let desktop = first;
  const image = h("img", { alt: "", hidden: true, draggable: "false" });
  const face = h("span", { class: "face" });
  const picture = h(
    "a",
    { class: "picture", href: `/desktop/${desktop.id}`, tabindex: "-1", "aria-hidden": "true" },
    face,
    image,
  );
  const live = new Picture(image, desktop.id);
  const state = h("span", { class: "state" });
  const line = h("p", { class: "line" });
  const reason = h("span", { class: "break" });
  const why = h(
    "button",
    { type: "button", class: "link", onclick: () => showWhy(data, desktop) },
    t("Why?"),
  );
  const people = h("p", { class: "soft small" });
  const outdated = h(
    "div",
    { class: "note" },
    icon("restart"),
    h("span", null, t("A newer image is there.")),
    h(
      "button",
      { type: "button", class: "small", onclick: () => actions.restart(data, desktop) },
      t("Restart"),
    ),
  );
  const verbs = h("div", { class: "row" });
  const element = h(
    "article",
    { class: "card desktop", "aria-label": desktop.name },
    picture,
    h(
      "div",
      { class: "body" },
      h("div", { class: "row apart head" }, h("h2", { class: "name" }, desktop.name), state),
      h("div", { class: "facts" }, line, h("p", { class: "soft small" }, reason, " ", why), people),
      outdated,
      h("div", { class: "row verbs" }, openLink(desktop), verbs, more()),
    ),
  );

  function more() {
    return menu(t("More for “{name}”", { name: desktop.name }), () => {
      const session = data.session(desktop);
      const awake = desktop.state === "ready";
      return [
        share && { label: t("Share …"), icon: "share", act: () => share(desktop) },
        awake && {
          label: t("Resolution …"),
          icon: "screen",
          act: () => actions.resize(data, desktop),
        },
        awake && {
          label: t("Let it sleep now"),
          icon: "moon",
          act: () => actions.sleep(data, desktop),
        },
        session?.outdated && {
          label: t("Restart into the new image …"),
          icon: "restart",
          act: () => actions.restart(data, desktop),
        },
        LIVE.includes(desktop.state) && {
          label: t("Stop …"),
          icon: "stop",
          act: () => actions.stop(data, desktop),
        },
        {
          label: t("Remove …"),
          icon: "trash",
          danger: true,
          act: () => actions.remove(data, desktop),
        },
      ];
    });
  }

  function verb(asked) {
    if (asked) return null;
    const one = (label, act) =>
      h("button", { type: "button", onclick: () => act(data, desktop) }, label);
    switch (desktop.state) {
      case "ready":
        return [one(t("Extend"), actions.extend), one(t("Stop"), actions.stop)];
      case "frozen":
        return [one(t("Wake"), actions.start), one(t("Stop"), actions.stop)];
      case "stopped":
      case "archived":
        return [one(t("Start"), actions.start)];
      default:
        return null;
    }
  }

  let shownVerbs = null;
  element.update = (next) => {
    desktop = next;
    const now = Date.now();
    const session = data.session(desktop);
    const asked = data.asked.get(desktop.id);
    const known =
      asked && !LIVE.includes(desktop.state)
        ? "starting"
        : asked && desktop.state === "frozen"
          ? "starting"
          : desktop.state;
    live.state = desktop.state;
    set(element, "data-state", known);
    set(state, "class", `state ${known}`);
    write(state, stateWord(known));
    write(
      line,
      known === "starting"
        ? starting(session, asked, now)
        : told(desktop, session, data.why(desktop), now),
    );
    write(reason, because(desktop, session, data.why(desktop), now));
    reason.parentElement.hidden = !["ready", "frozen"].includes(known);
    why.hidden = known !== "ready";
    write(people, [inside(session), onlookers(data, desktop)].filter(Boolean).join(" · "));
    people.hidden = people.textContent === "";
    outdated.hidden = !session?.outdated;
    showFace(known);
    const wanted = `${known} ${Boolean(asked)}`;
    if (wanted !== shownVerbs) fill(verbs, verb(Boolean(asked)));
    shownVerbs = wanted;
  };

  let shownFace = null;
  function showFace(known) {
    if (known === shownFace) return;
    shownFace = known;
    fill(face, known in FACES ? icon(FACES[known]) : h("span", { class: "spinner" }));
  }

  element.explain = () => {
    if (desktop.state === "ready") data.explain(desktop).catch(unlessOurs);
  };
  element.close = () => live.close();
  return element;
}

/** A desktop that does not answer is no news on a page that nobody asked for it. */
function unlessOurs(problem) {
  if (problem.name !== "Problem") throw problem;
}

const openLink = (desktop) =>
  h(
    "a",
    {
      class: "button primary",
      href: `/desktop/${desktop.id}`,
      "aria-label": t("Open “{name}”", { name: desktop.name }),
    },
    t("Open"),
  );

function starting(session, asked, now) {
  const since = asked ?? (session ? Date.parse(session.changed_at) : now);
  const took = Math.max(0, Math.round((now - since) / 1000));
  return took < 1
    ? t("It can be opened already.")
    : t("For {duration}; it can be opened already.", { duration: duration(took) });
}
