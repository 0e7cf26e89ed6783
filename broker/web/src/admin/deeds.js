/** What an admin does with a session. */
import { api } from "../lib/api.js";
import { confirm, field, formDialog } from "../lib/dialog.js";
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { keepAwake } from "../lib/keeping.js";
import { complain, say } from "../lib/notices.js";

const LONGEST = 500;

export const nameOf = (row) => `${row.user} / ${row.desktop}`;

/** As a menu has them. */
export function deeds(row, data, details) {
  const ready = row.state === "ready";
  const again = () => data.refresh();
  return [
    { label: t("Details …"), icon: "info", act: () => details(row) },
    ready && { label: t("Look over …"), icon: "eye", act: () => look(row) },
    ready && { label: t("Message …"), icon: "message", act: () => message(row) },
    ["ready", "frozen"].includes(row.state) && {
      label: t("Extend …"),
      icon: "clock",
      act: () => keepAwake({ session: row.id, name: nameOf(row), onDone: again }),
    },
    { label: t("Stop …"), icon: "stop", act: () => stop(row, again) },
    { label: t("Kill …"), icon: "power", danger: true, act: () => kill(row, again) },
  ];
}

async function look(row) {
  const yes = await confirm({
    title: t("Look over {name}?", { name: nameOf(row) }),
    text: t(
      "You see their screen. It is written into the audit; they may be asked or told, as the policy says.",
    ),
    yes: t("Look over"),
  });
  if (yes) window.open(`/desktop/${row.desktop_id}?look`, "_blank", "noopener");
}

function message(row) {
  const text = h("textarea", { name: "text", rows: 3, required: true, maxlength: LONGEST });
  formDialog(
    {
      title: t("Message to {name}", { name: nameOf(row) }),
      yes: t("Send"),
      submit: (said) =>
        api("POST", `/sessions/${row.id}/message`, { text: oneLine(said.get("text")) }),
      onDone: ({ seen }) =>
        seen ? say(t("It is shown in the desktop.")) : say(t("Nobody there could see it."), "warn"),
    },
    field(t("What they read, in the desktop and on terminals"), text),
  );
}

/** What is typed in several lines is one sentence: desktops show no others. */
export const oneLine = (text) => text.replace(/\s+/g, " ").trim();

async function stop(row, again) {
  const yes = await confirm({
    title: t("Stop {name}?", { name: nameOf(row) }),
    text: t("Its programs end, and what is not saved is lost. The home is kept."),
    yes: t("Stop"),
    danger: true,
  });
  if (yes) await done(() => api("POST", `/sessions/${row.id}/stop`), again);
}

async function kill(row, again) {
  const yes = await confirm({
    title: t("Kill {name}?", { name: nameOf(row) }),
    text: t(
      "It ends at once, and its programs are not asked. For one that does not stop. The home is kept.",
    ),
    yes: t("Kill"),
    danger: true,
  });
  if (yes) await done(() => api("POST", `/sessions/${row.id}/kill`, {}), again);
}

async function done(deed, again) {
  try {
    await deed();
  } catch (problem) {
    complain(problem);
  }
  again();
}
