/** One-time codes of the user. */
import { api, part } from "../lib/api.js";
import { open } from "../lib/dialog.js";
import { h } from "../lib/dom.js";
import { count, t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { enrolment } from "../signin/enrol.js";
import { section, smallButton } from "../lib/section.js";

/** Recovery codes below which new ones are worth a word. */
const FEW = 3;

export function codesSection(me) {
  const place = `/users/${part(me.user)}/code`;
  return section({
    title: t("One-time codes"),
    load: () => api("GET", place),
    show: (found, again) => state(me, found, again),
  });
}

function state(me, found, again) {
  const button = (label) =>
    h(
      "div",
      { class: "row" },
      smallButton(label, () => enrol(me, again)),
    );
  if (!found.enrolled) {
    return [
      h("p", { class: "soft" }, t("Not set up: whoever learns your password can sign in.")),
      button(t("Set up")),
    ];
  }
  const left = count(
    found.recovery_left,
    "{n} recovery code is left.",
    "{n} recovery codes are left.",
  );
  const few = found.recovery_left < FEW;
  return [
    h(
      "p",
      { class: few ? "note warn" : "note good" },
      icon(few ? "alert" : "check"),
      h("span", null, t("Set up."), " ", left),
    ),
    button(t("Set up anew")),
  ];
}

function enrol(me, again) {
  let dialog = null;
  const content = enrolment({ user: me.user, onDone: () => dialog.close() });
  dialog = open({ title: t("One-time codes"), onClose: again }, content);
}
