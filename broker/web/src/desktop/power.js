/** Leaving a desktop, stopping it, starting it anew. */
import { api } from "../lib/api.js";
import { confirm } from "../lib/dialog.js";
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { complain } from "../lib/notices.js";
import { action, word } from "./bar.js";

const ASKED = {
  stop: {
    title: "Stop this desktop?",
    text: "Every program in it ends; what is not saved is lost. Files stay.",
    yes: "Stop it",
  },
  restart: {
    title: "Restart this desktop?",
    text: "Every program in it ends; what is not saved is lost. Files stay.",
    yes: "Restart it",
  },
};

export function powerTool(viewer, desktop) {
  async function end(verb) {
    const { title, text, yes } = ASKED[verb];
    viewer.panels.shut();
    if (!(await confirm({ title: t(title), text: t(text), yes: t(yes), danger: true }))) return;
    const { connection } = viewer;
    if (verb === "restart") connection.leaveFor("Stopping the desktop …");
    try {
      await api("POST", `/desktops/${desktop.id}/stop`);
    } catch (problem) {
      complain(problem);
    }
    // Whoever looks at a desktop has it started.
    if (verb === "restart") connection.open();
  }

  return viewer.panels.button("power", "Power", () =>
    h(
      "div",
      { class: "stack" },
      word("a", "Leave: it goes on without you", { class: "button", href: "/" }),
      action("Restart", () => end("restart")),
      action("Stop", () => end("stop"), { class: "danger" }),
    ),
  );
}
