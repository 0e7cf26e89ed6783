/** The guest's page: say who you are, wait for the owner, see their desktop. */
import "./join.css";
import { onSignedOut } from "../lib/api.js";
import { field, form } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { header } from "../lib/header.js";
import { known, language, onLanguage, t, translate } from "../lib/i18n.js";
import { complain } from "../lib/notices.js";
import { tool } from "../desktop/bar.js";
import { openViewer } from "../desktop/viewer.js";
import { dropFragment } from "../signin/fragment.js";
import { answer, ask, leave, standing } from "./guest.js";
import { afterwards, stage } from "./stages.js";
import "./words.js";

const LONGEST = 40;

const root = document.getElementById("join");
let token = location.hash.slice(1);
if (token !== "") dropFragment();

let render = () => {};
let waiting = null;
let expires = null;

function put(...contents) {
  render = () =>
    fill(
      root,
      header(),
      h(
        "main",
        { class: "page narrow" },
        h(
          "div",
          { class: "card padded stack" },
          contents.map((make) => make()),
        ),
      ),
    );
  render();
}

/** A stage that is words and perhaps a button; `reason` is the broker's, where it has one. */
function tell(state, { reason = null, more = () => null } = {}) {
  const { title, text } = stage(state);
  const words = () =>
    reason !== null && (language() === "en" || known(reason)) ? t(reason) : t(text);
  put(
    () => h("h1", null, t(title)),
    () => h("p", { role: "status" }, words()),
    () => more(),
  );
}

function askName() {
  let typed = "";
  const name = () =>
    h("input", {
      name: "name",
      type: "text",
      required: true,
      maxlength: LONGEST,
      autocomplete: "name",
      value: typed,
      oninput: (event) => {
        typed = event.target.value;
      },
    });
  put(
    () => h("h1", null, t("See somebody's desktop")),
    () =>
      h(
        "p",
        { class: "soft" },
        t(
          "You were sent a link to a desktop. Its owner is told your name and asked whether you may come in.",
        ),
      ),
    () =>
      form(
        { yes: t("Ask to come in"), submit: () => ask(token, typed.trim()), onDone: enter },
        field(t("Your name"), name()),
      ),
  );
  root.querySelector("input").focus();
}

async function wait() {
  waiting = new AbortController();
  const { signal } = waiting;
  const cancel = () =>
    h("button", { type: "button", class: "plain", onclick: giveUp }, t("Cancel"));
  tell("asked", {
    more: () => h("div", { class: "row" }, h("span", { class: "spinner" }), cancel()),
  });
  try {
    const told = await answer(signal);
    if (!signal.aborted) enter(told);
  } catch (problem) {
    if (problem.name !== "AbortError") throw problem;
  }
}

async function giveUp() {
  waiting?.abort();
  await leave();
  tell("left");
}

/** Show what stands now. */
function enter(told) {
  if (told === null) return tell(afterwards(expires, Date.now()));
  token = "";
  expires = told.expires_at;
  if (told.state === "asked") return wait();
  if (told.state !== "in") return tell(told.state, { reason: told.reason });
  return look();
}

function look() {
  render = () => {};
  fill(root);
  const viewer = openViewer(root, {
    socket: "/ws/guest/screen",
    sound: "/ws/guest/sound",
    home: null,
    guest: true,
    onState: (state) => state === "ended" && over(viewer),
    tools: (made) => [[tool("close", "Leave", { onclick: () => quit(made) }), () => true]],
    actions: { leave: null, "sign-in": null, start: null },
  });
}

async function quit(viewer) {
  viewer.close();
  await leave();
  tell("left");
}

/** The relay ended for good: the broker knows why. */
async function over(viewer) {
  const told = await standing().catch(() => null);
  if (told?.state === "in") return; // The viewer says it, and how to come again: the desktop sleeps, say.
  viewer.close();
  enter(told);
}

async function begin() {
  translate();
  onSignedOut(() => {});
  onLanguage(() => render());
  if (token !== "") return askName();
  try {
    const told = await standing();
    if (told === null) tell("none");
    else enter(told);
  } catch (problem) {
    tell("none");
    complain(problem);
  }
}

begin();
