import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { choose, known } from "../src/lib/i18n.js";

globalThis.document = { documentElement: {}, querySelectorAll: () => [] };

const TEXT = String.raw`"((?:[^"\\]|\\.)*)"`;
/** Where sentences stand: `t("…")`, both of `count(n, "…", "…")`, the helpers of the bar. */
const SPOKEN = [
  new RegExp(String.raw`\bt\(\s*${TEXT}`, "g"),
  new RegExp(String.raw`\bcount\([^"]*${TEXT}`, "g"),
  new RegExp(String.raw`\bcount\([^"]*"[^"]*",\s*${TEXT}`, "g"),
  new RegExp(String.raw`\baction\(\s*${TEXT}`, "g"),
  new RegExp(String.raw`\b(?:word|tool|button)\(\s*"[^"]*",\s*${TEXT}`, "g"),
  new RegExp(String.raw`"data-t(?:-label)?": ${TEXT}`, "g"),
  new RegExp(String.raw`\bdata-t(?:-label)?=${TEXT}`, "g"),
  // Tables of sentences: what begins like one and has a blank in it.
  new RegExp(String.raw`[:?(]\s*"([A-Z“][^"\\]* [^"\\]*)"`, "g"),
];

function spoken(folder) {
  const found = new Set();
  for (const file of readdirSync(new URL(`../src/${folder}/`, import.meta.url))) {
    if (!/\.(js|html)$/.test(file) || file.includes("worklet") || file === "words.js") continue;
    const source = readFileSync(new URL(`../src/${folder}/${file}`, import.meta.url), "utf8");
    const code = source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
    for (const form of SPOKEN) for (const [, text] of code.matchAll(form)) found.add(text);
  }
  return [...found];
}

for (const folder of ["desktop", "alone"]) {
  test(`every sentence of ${folder} has its Chinese`, async () => {
    await import("../src/desktop/words.js");
    await import(`../src/${folder}/words.js`);
    choose("zh");
    const missing = spoken(folder).filter((text) => /^[^a-z].*[A-Za-z]/.test(text) && !known(text));
    choose("en");
    assert.deepEqual(missing, []);
  });
}
