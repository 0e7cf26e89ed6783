/** The way into a page that is for people who are signed in. */
import { Problem, api, caller, onSignedOut } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { header } from "../lib/header.js";
import { onLanguage, t, translate } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { sentence } from "../lib/sentences.js";
import { enrolment } from "./enrol.js";
import { dropFragment, readLink, readRefusal } from "./fragment.js";
import { signIn } from "./signin.js";
import "./words.js";

// Before anything else can see it.
const link = readLink(location.hash);
const refusal = readRefusal(location.hash);
if (link !== null || refusal !== null) dropFragment();

/**
 * Show in `root` what stands between somebody and the page, then call `show(me)`, which fills it
 * and answers `{render, close}`: words change with the language, and who is signed out leaves.
 */
export async function start(root, show) {
  let view = null;
  let shown = () => {};
  const put = (render) => {
    shown = render;
    render();
  };

  function outside(problem = null) {
    view?.close();
    view = null;
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    put(() => fill(root, header(), signIn({ problem, onDone: enter })));
  }

  async function enter() {
    try {
      const me = await caller();
      if (me.enrol) return put(() => fill(root, header({ end: leave() }), mustEnrol(me, enter)));
      view = show(me);
      put(view.render);
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
      if (problem.status === 401) outside(refused());
      else put(() => fill(root, header(), away(problem, enter)));
    }
  }

  onLanguage(() => shown());
  translate();
  onSignedOut((problem) => view && outside(problem));
  if (link === null) return enter();
  put(() =>
    fill(root, header(), h("p", { class: "page soft", role: "status" }, t("Signing in …"))),
  );
  try {
    await api("POST", "/sign-in/link", { token: link.token });
  } catch (problem) {
    return outside(problem);
  }
  if (link.desktop === null) return enter();
  return location.replace(`/desktop/${link.desktop}`);
}

/** Why somebody who came back from elsewhere is not in. */
const refused = () => refusal && new Problem(401, refusal.code, refusal.text);

function mustEnrol(me, enter) {
  return h(
    "main",
    { class: "page narrow" },
    h(
      "div",
      { class: "card padded stack" },
      h("h1", null, t("Set up one-time codes first")),
      h(
        "p",
        null,
        t(
          "Your account asks for a code at each sign-in. It takes an app on your phone, and a minute.",
        ),
      ),
      enrolment({ user: me.user, onDone: enter }),
    ),
  );
}

function away(problem, again) {
  return h(
    "main",
    { class: "page narrow" },
    h(
      "div",
      { class: "card padded stack" },
      h("h1", null, t("Desk cannot be reached")),
      h("p", { class: "note bad" }, icon("alert"), h("span", null, sentence(problem))),
      h(
        "div",
        { class: "buttons" },
        h("button", { class: "primary", type: "button", onclick: again }, t("Try again")),
      ),
    ),
  );
}

function leave() {
  const out = async () => {
    await api("POST", "/sign-out").catch(() => {});
    location.reload();
  };
  return h("button", { type: "button", class: "plain", onclick: out }, t("Sign out"));
}
