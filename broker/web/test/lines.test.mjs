import assert from "node:assert/strict";
import { test } from "node:test";
import { lines, sshConfig, webLine } from "../src/lib/lines.js";

const PLACE = { hostname: "desk.example", port: 2222, desktop: "main", display: 1000 };
const texts = (place) => lines({ ...PLACE, ...place }).map(([, line]) => line);

test("the default desktop needs no name and no display", () => {
  assert.deepEqual(texts({}), [
    "ssh -p 2222 desk@desk.example",
    "sftp -P 2222 desk@desk.example",
    "xpra attach ssh://desk@desk.example:2222/",
    "code --remote ssh-remote+desk /home/desk",
  ]);
});

test("another one is named behind a plus, and to xpra by its display while it has one", () => {
  assert.equal(texts({ desktop: "work", display: 1012 })[0], "ssh -p 2222 desk+work@desk.example");
  assert.equal(
    texts({ desktop: "work", display: 1012 })[2],
    "xpra attach ssh://desk@desk.example:2222/1012",
  );
  assert.equal(
    texts({ desktop: "work", display: null })[2],
    "xpra attach ssh://desk+work@desk.example:2222/",
  );
});

test("the usual port is not said, and brackets stand in URLs alone", () => {
  assert.equal(texts({ port: 22 })[0], "ssh desk@desk.example");
  assert.equal(texts({ hostname: "[2001:db8::1]" })[0], "ssh -p 2222 desk@2001:db8::1");
  assert.equal(
    texts({ hostname: "[2001:db8::1]" })[2],
    "xpra attach ssh://desk@[2001:db8::1]:2222/",
  );
});

test("the block for ssh's configuration names each desktop differently", () => {
  assert.equal(
    sshConfig(PLACE),
    "Host desk\n    HostName desk.example\n    Port 2222\n    User desk",
  );
  assert.match(sshConfig({ ...PLACE, desktop: "work" }), /^Host desk-work\n[^]*User desk\+work$/);
});

test("a link for a browser is asked for by name and port", () => {
  assert.equal(webLine("desk.example", 2222), "ssh -p 2222 desk@desk.example desk web");
});
