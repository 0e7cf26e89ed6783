/** The part of the page that says how other programs get in. */
import { copyable } from "../lib/copy.js";
import { field } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { DEFAULT_DESKTOP, lines, sshConfig } from "../lib/lines.js";

let chosen = null;

/** Ready lines for the desktop that is chosen. */
export function connectView(me, data) {
  const select = h("select", {
    onchange: () => {
      chosen = select.value;
      show();
    },
  });
  const which = h("div", { class: "which" }, field(t("For the desktop"), select));
  const box = h("div", { class: "card padded stack" });
  const element = h(
    "main",
    { class: "page stack medium" },
    h("div", { class: "row apart" }, h("h1", null, t("Connect with other programs")), which),
    h(
      "p",
      { class: "note" },
      icon("key"),
      h(
        "span",
        null,
        t("These go by your key."),
        " ",
        h("a", { href: "#account" }, t("Look whether it is among your keys.")),
      ),
    ),
    box,
  );

  let known = "";
  function update() {
    const names = (data.desktops ?? []).map((desktop) => desktop.name);
    if (names.length === 0) names.push(DEFAULT_DESKTOP);
    const displays = (data.desktops ?? []).map((desktop) => data.session(desktop)?.display ?? null);
    const now = JSON.stringify([names, displays]);
    if (now === known) return;
    known = now;
    if (!names.includes(chosen))
      chosen = names.includes(DEFAULT_DESKTOP) ? DEFAULT_DESKTOP : names[0];
    fill(
      select,
      names.map((name) => h("option", { value: name, selected: name === chosen }, name)),
    );
    which.hidden = names.length < 2;
    show();
  }

  function show() {
    const desktop = (data.desktops ?? []).find((one) => one.name === chosen);
    const place = {
      hostname: location.hostname,
      port: me.ssh_port,
      desktop: chosen,
      display: (desktop && data.session(desktop)?.display) ?? null,
    };
    fill(
      box,
      lines(place).map(([purpose, line]) => section(t(purpose), copyable(line))),
      section(
        t("For ~/.ssh/config; then “ssh {name}” is enough", {
          name: sshConfig(place).split(/\s+/)[1],
        }),
        copyable(sshConfig(place)),
      ),
    );
  }

  return { element, update, close() {} };
}

const section = (title, line) =>
  h("section", { class: "stack tight" }, h("h2", { class: "quiet" }, title), line);
