import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser } from "../src/lib/sse.js";

const STREAM =
  ': here\n\nid: 7\nevent: session.ready\ndata: {"seq": 7}\n\nid: 8\r\ndata: a\r\ndata: b\r\n\r\n';
const EVENTS = [
  { id: "7", event: "session.ready", data: '{"seq": 7}' },
  { id: "8", event: "message", data: "a\nb" },
];

test("events come whole, wherever the stream is cut", () => {
  for (let at = 0; at <= STREAM.length; at += 1) {
    const parser = new EventParser();
    const found = [...parser.push(STREAM.slice(0, at)), ...parser.push(STREAM.slice(at))];
    assert.deepEqual(found, EVENTS, `cut at ${at}`);
  }
});

test("a comment and an event without data are none", () => {
  assert.deepEqual(new EventParser().push(": here\n\nevent: x\n\n"), []);
});
