/** The picture of a desktop: how large, how fine, how fast. */
import { h, write } from "../lib/dom.js";
import { bytes, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { languages } from "../lib/header.js";
import { tool, word } from "./bar.js";
import { FIRST, Quality } from "./quality.js";

const KEPT = "desk.picture";
const SECOND = 1_000;
const TOUCH = matchMedia("(pointer: coarse)");
const SIZES = {
  resize: "Resize the desktop to this window",
  scale: "Scale the picture to this window",
  scroll: "Leave it as it is, and scroll",
};

const choices = { size: "resize", level: FIRST, automatic: true, ...kept() };

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}");
  } catch {
    return {}; // Storage can be forbidden.
  }
}

function keep() {
  try {
    localStorage.setItem(KEPT, JSON.stringify(choices));
  } catch {
    // Then it holds for this page alone.
  }
}

/** Has a screen follow what was chosen, and the element be of whole pixels. */
export class Picture {
  #connection;
  #quality = new Quality();
  #counted = { at: performance.now(), bytes: 0, frames: 0 };
  #timer = null;
  #watcher;

  constructor(connection, stage, frame) {
    this.#connection = connection;
    // A desktop has whole pixels: of a fraction of one, it would lack the last.
    this.#watcher = new ResizeObserver(() => {
      frame.style.width = `${Math.floor(stage.clientWidth)}px`;
      frame.style.height = `${Math.floor(stage.clientHeight)}px`;
    });
    this.#watcher.observe(stage);
  }

  begin(screen) {
    this.#counted = { at: performance.now(), bytes: this.#connection.bytes, frames: 0 };
    this.apply(screen);
  }

  apply(screen = this.#connection.screen) {
    if (screen === null) return;
    const resize = choices.size === "resize" && this.#connection.may("resize");
    screen.resizeSession = resize;
    screen.scaleViewport = choices.size !== "scroll";
    // Where fingers would scroll, they are the desktop's: there the picture is moved by a tool.
    screen.clipViewport = choices.size === "scroll" && TOUCH.matches;
    if (!screen.clipViewport) screen.dragViewport = false;
    screen.qualityLevel = choices.automatic ? this.#quality.level : choices.level;
  }

  choose(more) {
    Object.assign(choices, more);
    keep();
    this.apply();
  }

  /** How fast it was since the last time: frames and bytes in a second. */
  #speed() {
    const now = performance.now();
    const { bytes: total, screen } = this.#connection;
    const frames = screen?.frames ?? 0;
    const seconds = Math.max(0.001, (now - this.#counted.at) / SECOND);
    const speed = {
      frames: Math.max(0, frames - this.#counted.frames) / seconds,
      rate: Math.max(0, total - this.#counted.bytes) / seconds,
    };
    this.#counted = { at: now, bytes: total, frames };
    return speed;
  }

  /** The connection has measured its latency. */
  measured() {
    if (!choices.automatic) return;
    const { latency, bytes: total } = this.#connection;
    const rate = (total - this.#rated.bytes) / Math.max(0.001, (performance.now() - this.#rated.at) / SECOND);
    this.#rated = { at: performance.now(), bytes: total };
    const { screen } = this.#connection;
    if (screen !== null) screen.qualityLevel = this.#quality.measured({ latency, rate });
  }

  #rated = { at: performance.now(), bytes: 0 };

  get level() {
    return choices.automatic ? this.#quality.level : choices.level;
  }

  /** Call `tell({frames, rate, latency, size, level})` each second until `hide`. */
  show(tell) {
    this.#speed();
    this.#timer = setInterval(() => {
      const { latency, screen } = this.#connection;
      tell({ ...this.#speed(), latency, size: screen?.size ?? [0, 0], level: this.level });
    }, SECOND);
  }

  hide() {
    clearInterval(this.#timer);
  }
}

export function displayPanel(connection, picture) {
  const sizes = Object.entries(SIZES).filter(([size]) => size !== "resize" || connection.may("resize"));
  const size = h(
    "select",
    { onchange: () => picture.choose({ size: size.value }) },
    sizes.map(([value, label]) => word("option", label, { value, selected: value === choices.size })),
  );
  const level = h("input", {
    type: "range", min: 0, max: 9, step: 1, value: picture.level, disabled: choices.automatic,
    oninput: () => picture.choose({ level: Number(level.value) }),
  });
  const automatic = h("input", {
    type: "checkbox", checked: choices.automatic,
    onchange: () => {
      picture.choose({ automatic: automatic.checked, level: Number(level.value) });
      level.disabled = automatic.checked;
    },
  });
  const drag = tool("hand", "Move the picture", {
    class: "square", "aria-pressed": String(connection.screen?.dragViewport ?? false),
    onclick: () => {
      const { screen } = connection;
      if (screen === null) return;
      screen.dragViewport = !screen.dragViewport;
      drag.setAttribute("aria-pressed", String(screen.dragViewport));
    },
  });
  const figures = statistics(picture, level);
  return h(
    "div",
    { class: "stack" },
    h("label", null, word("span", "Size"), size),
    TOUCH.matches && h("div", { class: "row" }, drag, word("span", "Move a picture that is larger than the window", { class: "hint" })),
    h("label", null, word("span", "Quality"), level),
    h("label", { class: "line" }, automatic, word("span", "By the speed of the connection")),
    figures,
    h("div", { class: "row apart" }, word("span", "Language", { class: "soft" }), languages()),
  );
}

function statistics(picture, level) {
  const shown = {};
  const line = (name, label) => {
    shown[name] = h("dd", { "data-figure": name }, "–");
    return [word("dt", label), shown[name]];
  };
  const list = h(
    "dl",
    { class: "figures" },
    line("frames", "Frames in a second"),
    line("rate", "Data in a second"),
    line("latency", "There and back"),
    line("size", "Pixels"),
  );
  picture.show(({ frames, rate, latency, size, level: now }) => {
    write(shown.frames, number(frames));
    write(shown.rate, bytes(rate));
    write(shown.latency, latency === null ? "–" : t("{n} ms", { n: number(latency) }));
    write(shown.size, size.join(" × "));
    if (level.disabled) level.value = now;
  });
  return list;
}
