/** A button that opens a list of more things to do; arrows, Home, End, Escape as menus have them. */
import { h } from "./dom.js";
import { icon } from "./icons.js";

/**
 * `items()` answers what is in it now: `{label, icon, act, danger}` or `{label, icon, href}`; what
 * is false is left out. `face` is what the button shows instead of three dots.
 */
export function menu(label, items, { small = false, face = null } = {}) {
  const list = h("div", { class: "menu", role: "menu", hidden: true });
  const button = h(
    "button",
    {
      type: "button",
      class: face ? "plain face" : small ? "plain small square" : "square",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      "aria-label": face ? null : label,
      title: label,
    },
    face ?? icon("more"),
  );
  const box = h("div", { class: "menu-box" }, button, list);

  const shown = () => !list.hidden;
  function show(open) {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    list.replaceChildren(
      ...items()
        .filter(Boolean)
        .map((item) => entry(item, () => show(false))),
    );
    list.classList.remove("up");
    const box = list.getBoundingClientRect();
    if (box.bottom > innerHeight && box.height < box.top) list.classList.add("up");
    list.firstElementChild?.focus();
  }
  function move(event) {
    const entries = [...list.children];
    const at = entries.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (event.key === "Escape") {
      show(false);
      button.focus();
    } else if (to !== undefined) entries.at(to % entries.length)?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  button.addEventListener("click", () => show(!shown()));
  list.addEventListener("keydown", move);
  box.addEventListener("focusout", (event) => {
    if (shown() && !box.contains(event.relatedTarget)) show(false);
  });
  return box;
}

function entry(item, done) {
  const face = [item.icon && icon(item.icon), h("span", null, item.label)];
  const props = { role: "menuitem", tabindex: "-1", class: item.danger ? "danger" : null };
  if (item.href) return h("a", { ...props, href: item.href }, face);
  const act = () => {
    done();
    item.act();
  };
  return h("button", { ...props, type: "button", onclick: act }, face);
}
