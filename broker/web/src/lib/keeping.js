/** Keeping a session awake for longer: the question for how long. */
import { api } from "./api.js";
import { field, formDialog } from "./dialog.js";
import { h } from "./dom.js";
import { duration } from "./format.js";
import { t } from "./i18n.js";
import { say } from "./notices.js";

const HOUR = 3_600;

/** What can be chosen, as the broker reads it; seconds. */
export const SPANS = { "30m": HOUR / 2, "1h": HOUR, "4h": 4 * HOUR, "8h": 8 * HOUR };
const USUAL = "4h";

/** Ask for how long, and do it; `name` is the desktop's. */
export function keepAwake({ session, name, onDone }) {
  const choices = [
    ...Object.entries(SPANS).map(([span, seconds]) => [span, duration(seconds)]),
    ["keep", t("as long as allowed")],
    ["0", t("no longer")],
  ];
  const select = h(
    "select",
    { name: "span" },
    choices.map(([value, label]) => h("option", { value, selected: value === USUAL }, label)),
  );
  formDialog(
    {
      title: t("Keep “{name}” awake", { name }),
      yes: t("Keep it awake"),
      submit: (said) => keep(session, said.get("span")),
      onDone: (now) => {
        say(t("It stays awake."));
        onDone(now);
      },
    },
    field(t("From now, for"), select),
  );
}

const keep = (session, span) =>
  span === "keep"
    ? api("POST", `/sessions/${session}/keep`)
    : api("POST", `/sessions/${session}/extend`, { time: span });
