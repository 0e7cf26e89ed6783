import assert from "node:assert/strict";
import { test } from "node:test";
import { afterwards, stage } from "../src/join/stages.js";

test("each state of a guest has words, and an unknown one says that it is over", () => {
  assert.notEqual(stage("refused").text, stage("asked").text);
  assert.equal(stage("something new").title, stage("ended").title);
});

test("a guest who is not known any more is told whether the time was over", () => {
  const expires = "2030-01-01T00:00:00+00:00";
  assert.equal(afterwards(expires, Date.parse("2030-01-01T00:00:01Z")), "expired");
  assert.equal(afterwards(expires, Date.parse("2029-12-31T23:59:59Z")), "ended");
  assert.equal(afterwards(null, 0), "ended");
});
