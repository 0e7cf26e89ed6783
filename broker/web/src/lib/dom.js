/** Elements without markup: what people and desktops are called is text wherever it stands. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Of `props`, functions are listeners (`onclick`), `class`, `data-…`, `aria-…` and the
 * like are attributes; true is an empty one, false and null none. Children are elements or text.
 */
export function h(tag, props, ...children) {
  return dress(document.createElement(tag), props, children);
}

/** The same of SVG. */
export function s(tag, props, ...children) {
  return dress(document.createElementNS(SVG, tag), props, children);
}

function dress(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (name === "value") element.value = value;
    else set(element, name, value);
  }
  element.append(...kept(children));
  return element;
}

/** Set an attribute; false and null take it away. */
export function set(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

const kept = (children) =>
  children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false);

/** Have `children` alone in `element`. */
export function fill(element, ...children) {
  element.replaceChildren(...kept(children));
  return element;
}

/** Put `text` there, unless it stands there: a live page rewrites nothing that stays. */
export function write(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/**
 * Keep one child of `parent` for each of `items`, in their order: `make(item)` a new one,
 * `update(element, item)` those that stay. Focus and scroll stay with what stays.
 */
export function keyed(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = name;
    }
    old.delete(name);
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of old.values()) child.remove();
}
