/** The whole screen for the desktop: with the keys that the system keeps, and without going dark. */
import { set } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { tool } from "./bar.js";

let awake = null;

async function stayAwake() {
  try {
    awake = (await navigator.wakeLock?.request("screen")) ?? null;
  } catch {
    awake = null; // A hidden page, or an empty battery.
  }
}

/** `onChange(on)` hears when the screen is taken and given back. */
export function fullScreenTool(onChange) {
  const button = tool("expand", "Full screen", {
    "aria-pressed": "false",
    onclick: () =>
      document.fullscreenElement === null
        ? document.documentElement.requestFullscreen()
        : document.exitFullscreen(),
  });
  document.addEventListener("fullscreenchange", () => {
    const on = document.fullscreenElement !== null;
    set(button, "aria-pressed", String(on));
    button.replaceChildren(icon(on ? "shrink" : "expand"));
    button.title = t("Full screen");
    if (on) {
      // Escape and Alt+Tab reach the desktop; Escape held for long still leads out.
      navigator.keyboard?.lock?.().catch(() => {});
      stayAwake();
    } else {
      navigator.keyboard?.unlock?.();
      awake?.release();
      awake = null;
    }
    onChange(on);
  });
  // A lock ends when the page is hidden.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && document.fullscreenElement !== null) stayAwake();
  });
  return button;
}
