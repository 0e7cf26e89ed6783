/** What a guest is told at each stage; pure words, no page. */

const STAGES = {
  asked: [
    "Please wait",
    "The owner is asked whether you may come in. This page goes on by itself.",
  ],
  refused: ["Not this time", "You were not let in."],
  ended: [
    "It is over",
    "You do not see the desktop any more: that was ended, or its time is over.",
  ],
  left: ["You left", "You do not see the desktop any more."],
  expired: ["This link is over", "It was good for some time alone. Ask for a new one."],
  lost: [
    "This link leads nowhere",
    "It was mistyped, its time is over, or it was ended. Ask for a new one.",
  ],
  none: ["A link is needed", "This page shows a desktop to whoever was sent a link to it."],
};

/** `{title, text}` in English for a state of a guest, or of a link. */
export function stage(state) {
  const [title, text] = STAGES[state] ?? STAGES.ended;
  return { title, text };
}

/** What became of a guest whose state the broker does not tell any more. */
export const afterwards = (expiresAt, now) =>
  expiresAt !== null && now >= Date.parse(expiresAt) ? "expired" : "ended";
