import assert from "node:assert/strict";
import { test } from "node:test";
import { filtered, joined, sorted, totals } from "../src/admin/rows.js";

const session = (id, more) => ({
  id,
  user: "ada",
  desktop: "main",
  desktop_id: `d${id}`,
  state: "ready",
  address: null,
  port: null,
  display: null,
  attached: 0,
  kinds: [],
  idle: null,
  next_in: null,
  cpu: null,
  memory: null,
  ...more,
});
const ROWS = joined(
  [
    session("1", { user: "grace", cpu: 0.5, attached: 1, kinds: ["shell"] }),
    session("2", { state: "frozen", display: 1012, memory: 5 }),
    session("3", { user: "bob", cpu: 2, outdated: true }),
  ],
  [
    { session: "1", from: "192.0.2.7", client: "SSH-2.0-OpenSSH_9.2" },
    { session: "gone", from: "192.0.2.8", client: "x" },
  ],
);
const ids = (rows) => rows.map((row) => row.id).join("");

test("each word of a search must be found, in the session or in who is in it", () => {
  assert.equal(ids(filtered(ROWS, "openssh 192.0.2.7", "")), "1");
  assert.equal(ids(filtered(ROWS, ":1012", "")), "2");
  assert.equal(ids(filtered(ROWS, "GRACE main", "")), "1");
  assert.equal(ids(filtered(ROWS, "grace frozen-not", "")), "");
});

test("kinds are states, and those that somebody is in, and those of an old image", () => {
  assert.equal(ids(filtered(ROWS, "", "frozen")), "2");
  assert.equal(ids(filtered(ROWS, "", "inside")), "1");
  assert.equal(ids(filtered(ROWS, "", "outdated")), "3");
});

test("what is not known stands last, whichever way it is sorted", () => {
  assert.equal(ids(sorted(ROWS, "cpu", true)), "312");
  assert.equal(ids(sorted(ROWS, "cpu", false)), "132");
  assert.equal(ids(sorted(ROWS, "user", false)), "231");
});

test("sums count people once, and leave out what is not known", () => {
  const { live, awake, asleep, people, cpu, memory } = totals(ROWS);
  assert.deepEqual([live, awake, asleep, people, cpu, memory], [3, 2, 1, 1, 2.5, 5]);
});
