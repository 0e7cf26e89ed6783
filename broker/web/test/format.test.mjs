import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, duration, relative } from "../src/lib/format.js";
import { choose } from "../src/lib/i18n.js";

globalThis.document = { documentElement: {}, querySelectorAll: () => [] };

test("a duration has two units at most, and the second only where it says something", () => {
  const said = [0, 59, 61, 150, 3_700, 7_200, 90_000, 1_041_800].map((s) => duration(s));
  assert.deepEqual(said, [
    "0 seconds",
    "59 seconds",
    "1 minute, 1 second",
    "2 minutes",
    "1 hour, 1 minute",
    "2 hours",
    "1 day, 1 hour",
    "12 days",
  ]);
});

test("durations speak the chosen language", () => {
  choose("zh");
  assert.equal(duration(3_700), "1小时1分钟");
  assert.equal(relative(-120), "2分钟前");
  choose("en");
});

test("what a clock ahead of ours tells was not in the future", () => {
  assert.equal(ago("2030-01-01T00:00:10Z", Date.parse("2030-01-01T00:00:00Z")), "now");
  assert.equal(ago("2030-01-01T00:00:00Z", Date.parse("2030-01-01T02:00:00Z")), "2 hours ago");
});

test("amounts of bytes have at most one digit behind the point", () => {
  assert.deepEqual([999, 1_500, 999_600, 4_000_000_000].map(bytes), [
    "999 byte",
    "1.5 kB",
    "1 MB",
    "4 GB",
  ]);
});
