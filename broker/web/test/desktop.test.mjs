import assert from "node:assert/strict";
import { test } from "node:test";
import { difference } from "../src/desktop/composing.js";
import { Copied } from "../src/desktop/copied.js";
import { ending } from "../src/desktop/ends.js";
import { BATCH, KEYS, keysymOf, typist } from "../src/desktop/keysyms.js";
import { coded, folderOf, join, renamed } from "../src/desktop/paths.js";
import { FIRST, Quality } from "../src/desktop/quality.js";
import { pause } from "../src/lib/following.js";

test("a character is the keysym that X has for it", () => {
  assert.equal(keysymOf("a"), 0x61);
  assert.equal(keysymOf("é"), 0xe9);
  assert.equal(keysymOf("数"), 0x01006570);
  assert.equal(keysymOf("😀"), 0x0101f600);
  assert.equal(keysymOf("\n"), KEYS.Enter);
  assert.equal(keysymOf("\t"), KEYS.Tab);
});

test("long text is typed in order and in batches, with a pause after each", async () => {
  const sent = [];
  let pauses = 0;
  const type = typist((keysym) => sent.push(keysym), async () => {
    pauses += 1;
  });
  const text = "数".repeat(BATCH) + "b";
  type(text);
  await type("c");
  assert.deepEqual(sent, [...text, "c"].map(keysymOf));
  assert.equal(pauses, 2);
});

test("what a field holds now says what was typed", () => {
  assert.deepEqual(difference("xx", "xxa"), { back: 0, text: "a" });
  assert.deepEqual(difference("xx", "x"), { back: 1, text: "" });
  assert.deepEqual(difference("xxteh", "xxthe "), { back: 2, text: "he " });
  assert.deepEqual(difference("xx😀", "xx"), { back: 1, text: "" });
  assert.deepEqual(difference("xx", "xx"), { back: 0, text: "" });
});

test("a page comes again by itself when nobody meant the end, and at no other", () => {
  const retried = [1000, 1001, 1005, 1006, 1011, 1012, 4400, 4401, 4403, 4404, 4409, 4410, 4429].filter(
    (code) => ending(code).retry,
  );
  assert.deepEqual(retried, [1005, 1006, 1011, 1012]);
});

test("an end says the server's reason, and what one can do then", () => {
  assert.equal(ending(4409, "ada ended it.").sentence, "ada ended it.");
  assert.match(ending(4409, "").sentence, /ended/);
  assert.match(ending(4999, "").sentence, /ended/);
  assert.deepEqual(
    [4401, 4403, 4404, 4410, 4429, 4400].map((code) => ending(code).action),
    ["sign-in", "leave", "leave", "start", "again", "again"],
  );
});

test("the pause before the next try doubles up to half a minute, and chance halves it at most", () => {
  assert.deepEqual([0, 1, 2, 5, 50].map((failures) => pause(failures, 1)), [1_000, 2_000, 4_000, 30_000, 30_000]);
  assert.equal(pause(3, 0), 4_000);
});

test("a copied text that the browser refuses is kept until the next key or click", async () => {
  const written = [];
  let allowed = false;
  const copied = new Copied(async (text) => {
    if (!allowed) throw new Error("NotAllowedError");
    written.push(text);
  });
  await copied.take("one");
  await copied.take("two");
  assert.deepEqual(written, []);
  allowed = true;
  await copied.retry();
  await copied.retry();
  assert.deepEqual(written, ["two"]);
});

test("a text is copied once, and what was sent to the desktop does not come back", async () => {
  const written = [];
  const copied = new Copied(async (text) => written.push(text));
  await copied.take("same");
  await copied.take("same");
  copied.know("mine");
  await copied.take("mine");
  assert.deepEqual(written, ["same"]);
  assert.equal(copied.text, "mine");
  await new Copied(null).take("nowhere to write");
});

test("pictures get smaller when answers wait behind them, and finer again with patience", () => {
  const quality = new Quality();
  quality.measured({ latency: 20, rate: 0 });
  assert.equal(quality.measured({ latency: 400, rate: 500_000 }), FIRST - 2);
  assert.equal(quality.measured({ latency: 400, rate: 500_000 }), FIRST - 4);
  assert.equal(quality.measured({ latency: 900, rate: 500_000 }), 1);
  for (let n = 0; n < 2; n += 1) assert.equal(quality.measured({ latency: 25, rate: 9_000 }), 1);
  assert.equal(quality.measured({ latency: 25, rate: 9_000 }), 2);
});

test("a line that is long, or an answer that waits for nothing of ours, makes no picture smaller", () => {
  const far = new Quality();
  for (let n = 0; n < 2; n += 1) assert.equal(far.measured({ latency: 350, rate: 500_000 }), FIRST);
  const idle = new Quality();
  idle.measured({ latency: 10, rate: 0 });
  assert.equal(idle.measured({ latency: 900, rate: 100 }), FIRST);
});

test("paths of a home", () => {
  assert.equal(join("", "a"), "a");
  assert.equal(join("a/b", "c"), "a/b/c");
  assert.equal(folderOf("a/b"), "a");
  assert.equal(folderOf("a"), "");
  assert.equal(coded("ä b/c#?.txt"), "%C3%A4%20b/c%23%3F.txt");
  assert.deepEqual([1, 2, 3].map((n) => renamed("a.tar.gz", n)), ["a.tar.gz", "a.tar (2).gz", "a.tar (3).gz"]);
  assert.equal(renamed(".bashrc", 2), ".bashrc (2)");
  assert.equal(renamed("../../etc/passwd", 1), ".._.._etc_passwd");
});
