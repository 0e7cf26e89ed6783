import assert from "node:assert/strict";
import { test } from "node:test";
import { choose } from "../src/lib/i18n.js";
import { Problem } from "../src/lib/problem.js";
import { sentence } from "../src/lib/sentences.js";

globalThis.document = { documentElement: {}, querySelectorAll: () => [] };

test("readers of English get the broker's own sentence", () => {
  choose("en");
  assert.equal(sentence(new Problem(429, "full", "Eight starts wait.", 30)), "Eight starts wait.");
});

test("readers of Chinese get that of the code, when to come again, and the broker's own behind it", () => {
  choose("zh");
  assert.equal(
    sentence(new Problem(429, "full", "Eight starts wait.", 30)),
    "Desk 目前已满。请在30秒钟后重试。 (Eight starts wait.)",
  );
  assert.equal(sentence(new Problem(418, "new_code", "Tea.")), "Tea.");
  choose("en");
});
