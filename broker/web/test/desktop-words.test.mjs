import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { WORDS as ALONE } from "../src/alone/words.js";
import { WORDS as DESKTOP } from "../src/desktop/words.js";
import { COMMON } from "../src/lib/zh.js";

const KNOWN = { desktop: { ...COMMON, ...DESKTOP }, alone: { ...COMMON, ...DESKTOP, ...ALONE } };

const TEXT = String.raw`"((?:[^"\\]|\\.)*)"`;
/** Where sentences stand: `t("…")`, both of `count(n, "…", "…")`, the helpers of the bar. */
const SPOKEN = [
  new RegExp(String.raw`\bt\(\s*${TEXT}`, "g"),
  new RegExp(String.raw`\bcount\([^"]*${TEXT}`, "g"),
  new RegExp(String.raw`\bcount\([^"]*"[^"]*",\s*${TEXT}`, "g"),
  new RegExp(String.raw`\baction\(\s*${TEXT}`, "g"),
  new RegExp(String.raw`\b(?:word|tool|button)\(\s*"[^"]*",\s*${TEXT}`, "g"),
  new RegExp(String.raw`"data-t(?:-label)?": ${TEXT}`, "g"),
  // Tables of sentences, and a choice of two: what begins like one and has a blank in it.
  new RegExp(String.raw`[:?(]\s*"([A-Z“][^"\\]* [^"\\]*)"`, "g"),
];

function spoken(folder) {
  const found = new Set();
  const place = new URL(`../src/${folder}/`, import.meta.url);
  for (const file of readdirSync(place)) {
    if (!file.endsWith(".js") || file.endsWith(".worklet.js") || file === "words.js") continue;
    const code = readFileSync(new URL(file, place), "utf8").replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
    for (const form of SPOKEN) for (const [, text] of code.matchAll(form)) found.add(text);
  }
  return [...found].filter((text) => /^[^a-z].*[A-Za-z]/.test(text));
}

/** What the server of an image that stands alone refuses with. */
function refusals() {
  const place = new URL("../../../docker/rootfs/usr/local/lib/desk/relay.py", import.meta.url);
  return [...readFileSync(place, "utf8").matchAll(new RegExp(`Refused\\(\\d+, ${TEXT}`, "g"))].map((match) => match[1]);
}

test("every refusal of the image alone is there in Chinese", () => {
  assert.ok(refusals().length > 3);
  assert.deepEqual(refusals().filter((text) => !Object.hasOwn(KNOWN.alone, text)), []);
});

for (const [folder, known] of Object.entries(KNOWN)) {
  test(`every sentence of ${folder} is there in Chinese`, () => {
    const texts = spoken(folder);
    assert.ok(texts.length > 3);
    assert.deepEqual(texts.filter((text) => !Object.hasOwn(known, text)), []);
  });
}
