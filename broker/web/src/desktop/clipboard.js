/** The panel of the desktop's clipboard: for browsers that let no page write to the person's own. */
import { copyButton } from "../lib/copy.js";
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { action, word } from "./bar.js";

export function clipboardPanel(viewer) {
  const { connection, copied } = viewer;
  const reads = connection.may("clipboard_out");
  const writes = connection.may("clipboard_in") && connection.may("control");
  const text = h("textarea", { rows: 5, value: (reads && copied.text) || "", readonly: !writes, autofocus: true });
  const send = () => {
    viewer.paste(text.value);
    viewer.panels.shut();
    viewer.focus();
  };
  return h(
    "div",
    { class: "stack" },
    h("label", null, word("span", writes ? "Text from and for the desktop" : "Text from the desktop"), text),
    writes && word("p", "In the desktop Ctrl+V pastes what you have copied here, without this panel.", { class: "hint" }),
    h("div", { class: "buttons" }, reads && copyButton(() => text.value, text, t("Copy")), writes && action("Send to the desktop", send, { class: "primary" })),
  );
}
