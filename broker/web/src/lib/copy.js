/** Text to take along: a button that copies it, and says so. */
import { fill, h } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

const SAID = 2_000;

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // Not a secure page, or not allowed.
  }
}

/** A button that copies what `text()` says; where it may not, `source` is selected instead. */
export function copyButton(text, source, label = t("Copy")) {
  const face = () => fill(button, icon("copy"), h("span", null, label));
  const button = h("button", { type: "button", class: "small copy" });
  button.addEventListener("click", async () => {
    const done = await copied(text());
    if (!done) getSelection().selectAllChildren(source);
    fill(
      button,
      icon(done ? "check" : "edit"),
      h("span", { role: "status" }, done ? t("Copied") : t("Selected: press Ctrl+C")),
    );
    setTimeout(face, SAID);
  });
  face();
  return button;
}

/** A line, or several, in fixed width, with its button. */
export function copyable(text, label = t("Copy")) {
  const source = h("pre", { class: "mono", tabindex: "0" }, text);
  return h(
    "div",
    { class: "copyable" },
    source,
    copyButton(() => text, source, label),
  );
}
