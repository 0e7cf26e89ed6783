import assert from "node:assert/strict";
import { test } from "node:test";
import { pause } from "../src/lib/following.js";

test("pauses double up to half a minute, and half of each is chance", () => {
  assert.deepEqual(
    [0, 1, 2, 9].map((n) => pause(n, 1)),
    [1_000, 2_000, 4_000, 30_000],
  );
  assert.equal(pause(9, 0), 15_000);
});
