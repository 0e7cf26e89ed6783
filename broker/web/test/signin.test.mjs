import assert from "node:assert/strict";
import { test } from "node:test";
import { readLink, readRefusal } from "../src/signin/fragment.js";

test("a link says its token, and a desktop only where that is an id", () => {
  assert.deepEqual(readLink("#link=abc_-1&desktop=0123456789abcdef"), {
    token: "abc_-1",
    desktop: "0123456789abcdef",
  });
  for (const odd of ["../admin", "//evil.example", "0123", "0123456789ABCDEF"]) {
    assert.equal(readLink(`#link=abc&desktop=${odd}`).desktop, null, odd);
  }
});

test("other fragments are parts of the page", () => {
  assert.equal(readLink("#account"), null);
  assert.equal(readLink("#link="), null);
  assert.equal(readLink(""), null);
});

test("a refusal from elsewhere has words, whatever its code says", () => {
  assert.match(readRefusal("#refused=access_denied").text, /no account/);
  assert.equal(readRefusal("#refused=toString").text, readRefusal("#refused=unauthenticated").text);
  assert.equal(readRefusal("#account"), null);
});
