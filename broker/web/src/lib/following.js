/** A stream of events that is held for as long as somebody looks at the page. */
import { EventParser } from "./sse.js";

/** Milliseconds: the server says something every 15 s, a hidden page lets go after 60. */
const SILENCE = 40_000;
const HIDDEN = 60_000;
const FIRST = 1_000;
const LONGEST = 30_000;

/** Milliseconds before the try after `failures` of them; half of it is chance. */
export const pause = (failures, chance = Math.random()) =>
  Math.min(LONGEST, FIRST * 2 ** failures) * (0.5 + chance / 2);

/** As `events` of api.js. A hidden page holds none: browsers allow a host six connections. */
export function follow(url, onEvent, { onState = () => {}, onEnded = () => {} } = {}) {
  let last = null;
  let closed = false;
  let running = null;
  let hidden = null;
  let wake = () => {};

  async function read(signal, alive) {
    const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
    const response = await fetch(url, { headers, signal, cache: "no-store" });
    if (response.status === 401) return "ended";
    if (!response.ok) throw new Error(`events: ${response.status}`);
    const parser = new EventParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "broken";
      alive();
      for (const event of parser.push(value)) {
        last = event.id ?? last;
        onEvent(JSON.parse(event.data));
      }
    }
  }

  async function once() {
    running = new AbortController();
    let timer;
    let heard = false;
    const quiet = () => running?.abort();
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(quiet, SILENCE);
      if (!heard) onState("live");
      heard = true;
    };
    timer = setTimeout(quiet, SILENCE);
    try {
      return { heard, end: await read(running.signal, alive) };
    } catch {
      return { heard, end: "broken" };
    } finally {
      clearTimeout(timer);
      running = null;
    }
  }

  async function keep() {
    let failures = 0;
    while (!closed) {
      const { heard, end } = await once();
      if (closed) return;
      if (end === "ended") {
        onState("ended");
        return onEnded();
      }
      onState("waiting");
      failures = heard ? 0 : failures + 1;
      await new Promise((resolve) => {
        wake = resolve;
        if (!document.hidden) setTimeout(resolve, pause(failures));
      });
    }
  }

  function look() {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(() => running?.abort(), HIDDEN);
    else wake();
  }

  document.addEventListener("visibilitychange", look);
  keep();
  return () => {
    closed = true;
    clearTimeout(hidden);
    document.removeEventListener("visibilitychange", look);
    running?.abort();
    wake();
  };
}
