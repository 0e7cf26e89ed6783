/** Dialogs: asked and answered in the page's own look. */
import { fill, h } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { sentence } from "./sentences.js";

let made = 0;

/** Open a dialog; `onClose` is called however it is closed. Answers the element. */
export function open({ title, wide = false, onClose = () => {} }, ...children) {
  made += 1;
  const id = `dialog-${made}`;
  const shut = h(
    "button",
    {
      type: "button",
      class: "plain small square",
      "aria-label": t("Close"),
      onclick: () => dialog.close(),
    },
    icon("close"),
  );
  const dialog = h(
    "dialog",
    { "aria-labelledby": id, class: wide ? "wide" : null },
    h(
      "div",
      { class: "stack" },
      h("div", { class: "row apart title" }, h("h2", { id, class: "break" }, title), shut),
      children,
    ),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
  first(dialog)?.focus();
  return dialog;
}

/** What somebody who opened a dialog wants: to type, else to say no. The way out comes first by itself. */
const first = (dialog) =>
  dialog.querySelector("input, select, textarea") ?? dialog.querySelector(".buttons button");

/** Ask; answers whether the answer was yes. */
export function confirm({ title, text, yes, danger = false }) {
  return new Promise((resolve) => {
    let answer = false;
    const accept = () => {
      answer = true;
      dialog.close();
    };
    const dialog = open(
      { title, onClose: () => resolve(answer) },
      h("p", { class: "break" }, text),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, t("Cancel")),
        h(
          "button",
          { type: "button", class: danger ? "primary danger" : "primary", onclick: accept },
          yes,
        ),
      ),
    );
  });
}

/**
 * A form whose refusals are told in it. `submit(data)` does it, and raises Problem; `onDone` gets
 * what it answered.
 */
export function form(
  { yes, submit, onDone = () => {}, onCancel = null, danger = false },
  ...fields
) {
  const complaint = h("div", { role: "alert" });
  const button = h("button", { type: "submit", class: danger ? "primary danger" : "primary" }, yes);
  const act = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(complaint);
    try {
      onDone(await submit(new FormData(event.target)));
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
      fill(
        complaint,
        h(
          "p",
          { class: "note bad" },
          icon("alert"),
          h("span", { class: "break" }, sentence(problem)),
        ),
      );
    } finally {
      button.disabled = false;
    }
  };
  const cancel = onCancel && h("button", { type: "button", onclick: onCancel }, t("Cancel"));
  return h(
    "form",
    { class: "form", onsubmit: act },
    fields,
    complaint,
    h("div", { class: "buttons" }, cancel, button),
  );
}

/** A dialog with one form, closed when it is done. */
export function formDialog(
  { title, wide = false, yes, submit, onDone = () => {}, danger },
  ...fields
) {
  const done = (answer) => {
    dialog.close();
    onDone(answer);
  };
  const dialog = open(
    { title, wide },
    form({ yes, submit, onDone: done, onCancel: () => dialog.close(), danger }, fields),
  );
  return dialog;
}

/** A labelled input, with a hint below it. */
export function field(label, input, hint = null) {
  return h("label", null, label, input, hint && h("span", { class: "hint" }, hint));
}
