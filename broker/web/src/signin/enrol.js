/** Setting up one-time codes: the picture for the phone, a first code, recovery codes once. */
import { api, part } from "../lib/api.js";
import { copyButton, copyable } from "../lib/copy.js";
import { field, form } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { complain } from "../lib/notices.js";
import "./words.js";

/** All of it for `user`; `onDone` is called when the recovery codes were kept. */
export function enrolment({ user, onDone }) {
  const box = h("div", { class: "stack" });
  const begin = h("button", { type: "button", class: "primary" }, t("Show what my phone needs"));
  begin.addEventListener("click", async () => {
    begin.disabled = true;
    try {
      secret(box, user, await api("POST", `/users/${part(user)}/code`, {}), onDone);
    } catch (problem) {
      begin.disabled = false;
      complain(problem);
    }
  });
  return fill(
    box,
    h(
      "p",
      { class: "soft" },
      t("Any authenticator does: Aegis, FreeOTP, 2FAS, Google Authenticator, a password manager."),
    ),
    h("div", { class: "row" }, begin),
  );
}

function secret(box, user, made, onDone) {
  const code = h("input", {
    name: "code",
    class: "code",
    required: true,
    autocomplete: "one-time-code",
    inputmode: "numeric",
    maxlength: 16,
  });
  const submit = () =>
    api("POST", `/users/${part(user)}/code/confirm`, { code: code.value.replace(/\s/g, "") });
  fill(
    box,
    h("p", null, t("1. Scan this with your authenticator.")),
    h("img", { class: "qr", alt: t("A QR code with the secret below"), src: picture(made.qr) }),
    h("details", null, h("summary", null, t("It cannot be scanned?")), copyable(made.secret)),
    h("p", null, t("2. Type the code that it shows now.")),
    form(
      { yes: t("Confirm"), submit, onDone: (answer) => recovery(box, answer.recovery, onDone) },
      field(t("Code"), code),
    ),
  );
  code.focus();
}

/** As an image, what SVG says is drawn and never run. */
const picture = (svg) => `data:image/svg+xml,${encodeURIComponent(svg)}`;

function recovery(box, codes, onDone) {
  const list = h(
    "ol",
    { class: "recovery mono" },
    codes.map((code) => h("li", null, code)),
  );
  fill(
    box,
    h(
      "p",
      { class: "note good", role: "status" },
      h("span", null, t("One-time codes are set up.")),
    ),
    h(
      "p",
      null,
      t(
        "These recovery codes let you in without your phone, each once. They are shown now and never again: keep them.",
      ),
    ),
    list,
    h(
      "div",
      { class: "row apart" },
      copyButton(() => codes.join("\n"), list, t("Copy all")),
      h("button", { type: "button", class: "primary", onclick: onDone }, t("I have kept them")),
    ),
  );
}
