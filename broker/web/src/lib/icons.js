/** Small drawings beside words; what one means, the word beside it or a label says. */
import { s } from "./dom.js";

const PATHS = {
  alert:
    "M12 8v5M12 16.5v.01M10.3 4.2 2.9 17.5A2 2 0 0 0 4.6 20.5h14.8a2 2 0 0 0 1.7-3L13.7 4.2a2 2 0 0 0-3.4 0Z",
  back: "M15 5l-7 7 7 7",
  check: "M5 12.5 10 17.5 19 7",
  clipboard: "M9 4.5h6v3H9zM9 6H5.5v14.5h13V6H15",
  clock: "M12 7v5l3 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  display: "M4 7h9M17 7h3M15 5v4M4 12h3M11 12h9M9 10v4M4 17h10M18 17h2M16 15v4",
  down: "M6 9l6 6 6-6",
  download: "M12 4.5V16M7 11.5l5 5 5-5M4.5 15.5V20h15v-4.5",
  edit: "M4 20l1-4L16.5 4.5a2 2 0 0 1 3 3L8 19l-4 1ZM14.5 6.5l3 3",
  expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12ZM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Z",
  folder: "M3.5 6h6l2 2.5h9v10h-17z",
  hand: "M7 12V7.5a1.5 1.5 0 0 1 3 0V11M10 10V5a1.5 1.5 0 0 1 3 0v6M13 10.5V6a1.5 1.5 0 0 1 3 0v6M16 11V8.5a1.5 1.5 0 0 1 3 0V15a6 6 0 0 1-6 6c-3 0-4.5-1.5-6-4L4.6 13a1.6 1.6 0 0 1 2.7-1.7",
  info: "M12 11v5.5M12 7.5v.01M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
  key: "M15.5 4.5a4.5 4.5 0 1 1-3.9 6.7L4 18.8V20h3v-2h2v-2h1.5l2.3-2.3M16.5 8v.01",
  keyboard: "M2.5 6h19v12h-19zM6 9.5v.01M10 9.5v.01M14 9.5v.01M18 9.5v.01M8 14.5h8",
  message: "M4 5.5h16v11H11l-4.5 4v-4H4z",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z",
  more: "M12 6v.01M12 12v.01M12 18v.01",
  mute: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5",
  play: "M7.5 5v14l11-7z",
  plus: "M12 5v14M5 12h14",
  power: "M12 3.5v8M6.8 6.8a7.5 7.5 0 1 0 10.4 0",
  restart: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4v5h-5",
  screen: "M3.5 5h17v11.5h-17zM9 20h6M12 16.5V20",
  search: "M10.5 4.5a6 6 0 1 0 0 12 6 6 0 0 0 0-12ZM15 15l5 5",
  share:
    "M8.5 5a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4ZM2.5 19.5c0-3.3 2.7-5.5 6-5.5s6 2.2 6 5.5M18 7.5v6M15 10.5h6",
  shrink: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  sound: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
  stop: "M6.5 6.5h11v11h-11z",
  trash: "M4.5 7h15M10 7V4.5h4V7M6.5 7l1 13h9l1-13M10.5 11v5.5M13.5 11v5.5",
  up: "M6 15l6-6 6 6",
  upload: "M12 16V4.5M7 9l5-5 5 5M4.5 15.5V20h15v-4.5",
};

/** A drawing of `PATHS`, which readers of screens skip. */
export const icon = (name) =>
  s(
    "svg",
    { class: name === "more" ? "icon bold" : "icon", viewBox: "0 0 24 24", "aria-hidden": "true" },
    s("path", { d: PATHS[name] }),
  );

/** The sign of Desk. */
export const brand = () =>
  s(
    "svg",
    { viewBox: "0 0 32 32", "aria-hidden": "true" },
    s("rect", { class: "screen", width: 32, height: 32, rx: 7 }),
    s("rect", { class: "glass", x: 6, y: 7, width: 20, height: 14, rx: 2 }),
    s("path", { class: "glass", d: "M13 22.5h6l1 3h-8z" }),
  );
