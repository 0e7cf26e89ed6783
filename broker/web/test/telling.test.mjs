import assert from "node:assert/strict";
import { test } from "node:test";
import { because, inside, left, nextWord, told } from "../src/lib/telling.js";

const NOW = Date.parse("2030-01-01T12:00:00Z");
const session = { next: "freeze", next_in: 600, told_at: NOW - 60_000, attached: 0, kinds: [] };

test("what comes next is counted on from when it was told, and never below nothing", () => {
  assert.equal(left(session, NOW), 540);
  assert.equal(left({ ...session, next_in: 30 }, NOW), 0);
  assert.equal(left({ ...session, next_in: null }, NOW), null);
  assert.equal(told({ state: "ready" }, session, null, NOW), "Sleeps in 9 minutes");
});

test("what never sleeps says so", () => {
  assert.equal(nextWord(null, null), "Stays awake by itself");
});

test("the reason is what counts, and how long ago it was by now", () => {
  const why = { counts: "input", signals: { input: 60 }, told_at: NOW - 60_000, kept_for: 0 };
  assert.equal(
    because({ state: "ready" }, session, why, NOW),
    "Keyboard or mouse in the desktop, 2 minutes ago",
  );
  assert.equal(because({ state: "ready" }, session, null, NOW), "");
  assert.equal(because({ state: "stopped" }, null, why, NOW), "");
});

test("a signal of a newer broker is told by its own name", () => {
  const why = { counts: "gaze", signals: { gaze: 60 }, told_at: NOW };
  assert.equal(because({ state: "ready" }, session, why, NOW), "Gaze, 1 minute ago");
});

test("who is in it is told with what they use", () => {
  assert.equal(
    inside({ attached: 2, kinds: ["browser", "shell"] }),
    "2 connected: a browser, a shell",
  );
  assert.equal(inside({ attached: 0, kinds: [] }), "");
});
