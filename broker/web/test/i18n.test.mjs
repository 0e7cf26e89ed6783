import assert from "node:assert/strict";
import { test } from "node:test";
import { addWords, choose, count, known, locale, t } from "../src/lib/i18n.js";

globalThis.document = { documentElement: {}, querySelectorAll: () => [] };
addWords("zh", { "Hello, {name}": "{name}，你好" });

test("a sentence comes in the chosen language, and in English where there is no other", () => {
  choose("zh");
  assert.equal(t("Hello, {name}", { name: "ada" }), "ada，你好");
  assert.equal(t("Unheard"), "Unheard");
  assert.deepEqual([known("Hello, {name}"), known("Unheard")], [true, false]);
  assert.equal(document.documentElement.lang, "zh-CN");
  choose("en");
  assert.equal(t("Hello, {name}", { name: "ada" }), "Hello, ada");
  assert.equal(locale(), "en");
});

test("what a value says is never looked at again", () => {
  assert.equal(t("{a}{b}", { a: "{b}", b: "$&" }), "{b}$&");
  assert.equal(t("{toString}", {}), "{toString}");
});

test("one and many are told apart, and numbers are written as the language does", () => {
  assert.equal(count(1, "{n} desktop", "{n} desktops"), "1 desktop");
  assert.equal(count(1200, "{n} desktop", "{n} desktops"), "1,200 desktops");
});
