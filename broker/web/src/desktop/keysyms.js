/** Text as keys that X knows. */

export const KEYS = {
  Backspace: 0xff08,
  Tab: 0xff09,
  Enter: 0xff0d,
  Escape: 0xff1b,
  Delete: 0xffff,
  ArrowLeft: 0xff51,
  ArrowUp: 0xff52,
  ArrowRight: 0xff53,
  ArrowDown: 0xff54,
  ShiftLeft: 0xffe1,
  ControlLeft: 0xffe3,
  AltLeft: 0xffe9,
  MetaLeft: 0xffeb,
};

/** Keys in one go, and milliseconds between two: Xvnc has few spare key codes, and reuses them. */
export const BATCH = 20;
export const GAP = 50;

const UNICODE = 0x01000000;

/** The keysym of one character. */
export function keysymOf(character) {
  const point = character.codePointAt(0);
  if (point === 10 || point === 13) return KEYS.Enter;
  if (point === 9) return KEYS.Tab;
  return point < 0x100 ? point : UNICODE | point;
}

/** A typist: what it is given goes by `press(keysym)` in order, in batches. */
export function typist(press, wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))) {
  let done = Promise.resolve();
  async function type(text) {
    const characters = [...text];
    for (let at = 0; at < characters.length; at += BATCH) {
      for (const one of characters.slice(at, at + BATCH)) press(keysymOf(one));
      if (characters.length > BATCH) await wait(GAP);
    }
  }
  return (text) => {
    done = done.then(() => type(text));
    return done;
  };
}
