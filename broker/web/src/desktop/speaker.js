/** The button of the sound: off at first, for browsers play nothing that nobody asked for. */
import { set } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { say } from "../lib/notices.js";
import { tool } from "./bar.js";
import { play } from "./sound.js";

const NONE = 4404;

/** Null where the browser has no way to play it: pages that came without TLS from elsewhere. */
export function soundTool(url) {
  if (!globalThis.AudioContext?.prototype || !("audioWorklet" in AudioContext.prototype)) return null;
  let stop = null;
  const button = tool("mute", "Sound", { "aria-pressed": "false", onclick: () => (stop === null ? start() : end()) });

  function show(on) {
    set(button, "aria-pressed", String(on));
    button.replaceChildren(icon(on ? "sound" : "mute"));
  }
  function end() {
    stop?.();
    stop = null;
    show(false);
  }
  async function start() {
    show(true);
    stop = await play(url, (code) => {
      end();
      button.disabled = code === NONE;
      say(t(code === NONE ? "This desktop has no sound." : "The sound was interrupted."), "warn");
    });
  }
  return button;
}
