/** The admin's page: who is here, what was done, who may in, how Desk is. */
import "./admin.css";
import { api } from "../lib/api.js";
import { fill, h, write } from "../lib/dom.js";
import { moment } from "../lib/format.js";
import { account, header } from "../lib/header.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { busy, complain } from "../lib/notices.js";
import { sentence } from "../lib/sentences.js";
import { start } from "../signin/start.js";
import { auditView } from "./audit.js";
import { AdminData } from "./data.js";
import { sessionsView } from "./sessions.js";
import { systemView, troubles } from "./system.js";
import { usersView } from "./users.js";
import "./words.js";

const VIEWS = { sessions: sessionsView, audit: auditView, users: usersView, system: systemView };
const HEADS = { sessions: "Sessions", audit: "Audit", users: "Users", system: "System" };

function show(root, me) {
  if (!me.admin)
    return { render: () => fill(root, header({ end: end(me) }), refused()), close() {} };
  let view = null;
  const banners = h("div", { class: "stack banners" });
  const quiet = h("span", { class: "soft small", role: "status" });
  const data = new AdminData(update, (entry) => view?.heard?.(entry));

  function update() {
    view?.update();
    write(
      quiet,
      data.problem
        ? sentence(data.problem)
        : data.live
          ? ""
          : t("Not live just now; looked at every few seconds."),
    );
    fill(
      banners,
      draining(data),
      troubles(data.status).map((one) => note("bad", one)),
    );
  }

  function render() {
    view?.close();
    const wanted = location.hash.slice(1);
    const part = Object.hasOwn(VIEWS, wanted) ? wanted : "sessions";
    view = VIEWS[part](data);
    const tabs = Object.entries(HEADS).map(([name, label]) => [name, t(label)]);
    fill(
      root,
      header({ tabs, current: part, end: end(me) }),
      h(
        "main",
        { class: "page stack" },
        h("div", { class: "row apart" }, h("h1", null, t(HEADS[part])), quiet),
        banners,
        view.element,
      ),
    );
    update();
  }

  addEventListener("hashchange", render);
  return {
    render,
    close() {
      removeEventListener("hashchange", render);
      view?.close();
      data.close();
    },
  };
}

const note = (kind, text, ...more) =>
  h("div", { class: `note ${kind}` }, icon("alert"), h("span", { class: "break" }, text), more);

function draining(data) {
  const drain = data.maintenance;
  if (!drain?.draining) return null;
  const words = [
    t("No desktop starts just now: maintenance is being prepared."),
    drain.at && t("It is planned for {time}.", { time: moment(drain.at) }),
    drain.message,
  ];
  const resume = h("button", { type: "button", class: "small" }, t("Start desktops again"));
  resume.addEventListener("click", () =>
    busy(resume, () => api("DELETE", "/maintenance")).then(() => data.refresh()),
  );
  return note("warn", words.filter(Boolean).join(" "), resume);
}

const refused = () =>
  h(
    "main",
    { class: "page narrow" },
    h(
      "div",
      { class: "card padded stack" },
      h("h1", null, t("Administration")),
      h("p", null, t("This page is for administrators.")),
      h("p", null, h("a", { href: "/" }, t("Your desktops"))),
    ),
  );

const end = (me) =>
  account(me, [{ label: t("Your desktops"), icon: "screen", href: "/" }], () =>
    signOut().catch(complain),
  );

async function signOut() {
  await api("POST", "/sign-out");
  location.assign("/admin");
}

const root = document.getElementById("admin");
start(root, (me) => show(root, me));
