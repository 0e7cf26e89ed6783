/** The dialog that tells what keeps a desktop awake. */
import { open } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { explanation } from "../lib/explanation.js";
import { t } from "../lib/i18n.js";
import { complain } from "../lib/notices.js";

/** Milliseconds: what is older is asked for anew. */
const FRESH = 2_000;

export async function showWhy(data, desktop) {
  const box = h(
    "div",
    { class: "stack", role: "status" },
    h("p", { class: "soft" }, t("The desktop is asked …")),
  );
  const dialog = open(
    { title: t("What keeps “{name}” awake", { name: desktop.name }), wide: true },
    box,
  );
  try {
    const why = await data.explain(desktop, FRESH);
    if (why === null) dialog.close();
    else fill(box, explanation(why));
  } catch (problem) {
    dialog.close();
    complain(problem);
  }
}
