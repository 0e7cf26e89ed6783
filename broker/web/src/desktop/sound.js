/** What the desktop plays, played here. */
import player from "./player.worklet.js";

const RATE = 48_000;
const FRAME = 4; // bytes of one sample of both channels

/** Whole frames of what came so far, and the rest for later. */
export function whole(rest, data) {
  const all = new Uint8Array(rest.length + data.byteLength);
  all.set(rest);
  all.set(new Uint8Array(data), rest.length);
  const end = all.length - (all.length % FRAME);
  return { samples: new Int16Array(all.slice(0, end).buffer), rest: all.slice(end) };
}

/**
 * Play what the socket at `url` sends. To be called in a click: browsers start no sound by
 * themselves. `onEnd(code, reason)` when it ends by itself. Returns what ends it.
 */
export async function play(url, onEnd) {
  const context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
  await context.audioWorklet.addModule(player);
  const node = new AudioWorkletNode(context, "desk-player", { outputChannelCount: [2] });
  node.connect(context.destination);
  let rest = new Uint8Array(0);
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    const got = whole(rest, data);
    ({ rest } = got);
    if (got.samples.length > 0) node.port.postMessage(got.samples, [got.samples.buffer]);
  };
  socket.onclose = ({ code, reason }) => {
    context.close();
    onEnd(code, reason);
  };
  return () => {
    socket.onclose = null;
    socket.close();
    context.close();
  };
}
