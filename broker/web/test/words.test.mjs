import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { COMMON } from "../src/lib/zh.js";

const SOURCES = fileURLToPath(new URL("../src", import.meta.url));
const PARTS = ["lib", "signin", "home", "admin", "join"];
const LITERAL = String.raw`"((?:[^"\\]|\\.)*)"`;
const SAID = [
  new RegExp(String.raw`\bt\(\s*${LITERAL}`, "g"),
  new RegExp(String.raw`\bcount\([^"]*${LITERAL},\s*${LITERAL}`, "g"),
];
/** Of tables of words, which stand in constants: `const STATES = {…}`. */
const TABLE = /^const [A-Z_]+ = [{[].*?[}\]];$/gms;
const SENTENCE = /[A-Za-z] [a-z“]|^[A-Z][a-z]+$/;

function sentences(source) {
  const found = SAID.flatMap((pattern) =>
    [...source.matchAll(pattern)].flatMap((match) => match.slice(1)),
  );
  const tables = (source.match(TABLE) ?? []).flatMap((table) =>
    [...table.matchAll(new RegExp(LITERAL, "g"))].map((match) => match[1]),
  );
  return [...found, ...tables.filter((text) => SENTENCE.test(text))];
}

const words = async (part) => (await import(join(SOURCES, part, "words.js"))).WORDS;

for (const part of PARTS) {
  test(`every sentence of ${part} is there in Chinese`, async () => {
    const folder = join(SOURCES, part);
    const files = readdirSync(folder).filter((name) => name.endsWith(".js"));
    const known = {
      ...COMMON,
      ...(part === "lib" ? {} : { ...(await words("signin")), ...(await words(part)) }),
    };
    const texts = files.flatMap((name) => sentences(readFileSync(join(folder, name), "utf8")));
    assert.deepEqual(
      [...new Set(texts)].filter((text) => !Object.hasOwn(known, text)),
      [],
    );
  });
}
