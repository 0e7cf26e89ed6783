/** The page of an image that stands alone: its password, then its one desktop. */
import { form } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { languages } from "../lib/header.js";
import { onLanguage, t, translate } from "../lib/i18n.js";
import { brand } from "../lib/icons.js";
import { Problem, unreachable } from "../lib/problem.js";
import { tool } from "../desktop/bar.js";
import { openViewer } from "../desktop/viewer.js";
import "./alone.css";
import "./words.js";

const root = document.getElementById("alone");
let asking = true;

/** Raises Problem. */
async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(path, { method, body: body && JSON.stringify(body), cache: "no-store" });
  } catch {
    throw unreachable();
  }
  if (response.status === 204) return null;
  const said = await response.json();
  if (!response.ok) {
    const again = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    throw new Problem(response.status, "refused", said.detail, Number.isNaN(again) ? null : again);
  }
  return said;
}

function gate() {
  const password = h("input", { name: "password", type: "password", required: true, autofocus: true, autocomplete: "current-password" });
  const user = h("input", { class: "unseen", value: "desk", autocomplete: "username", tabindex: "-1", "aria-hidden": "true", readonly: true });
  fill(
    root,
    h(
      "main",
      { class: "gate" },
      h(
        "div",
        { class: "card padded stack" },
        h("div", { class: "row apart" }, h("h1", { class: "brand" }, brand(), "Desk"), languages()),
        form(
          { yes: t("Open the desktop"), submit: (said) => ask("POST", "/sign-in", { password: said.get("password") }), onDone: show },
          user,
          h("label", null, t("Password of the user desk"), password, h("span", { class: "hint" }, t("It is the one for ssh: the first line of the container's log tells it."))),
        ),
      ),
    ),
  );
  password.focus();
}

function show() {
  asking = false;
  root.replaceChildren();
  const leave = tool("power", "Sign out", {
    onclick: async () => {
      await ask("POST", "/sign-out");
      location.reload();
    },
  });
  openViewer(root, {
    socket: "/ws/screen",
    sound: "/ws/sound",
    home: null,
    actions: { "sign-in": () => location.reload() },
    tools: () => [[leave, () => true]],
  });
}

translate();
onLanguage(() => asking && gate());
const { in: inside } = await ask("GET", "/sign-in");
if (inside) show();
else gate();
