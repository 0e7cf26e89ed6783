/** The user's page: their desktops, how to get in, their account. */
import "./home.css";
import { api } from "../lib/api.js";
import { fill } from "../lib/dom.js";
import { account, header } from "../lib/header.js";
import { t } from "../lib/i18n.js";
import { complain } from "../lib/notices.js";
import { start } from "../signin/start.js";
import { accountView } from "./account.js";
import { connectView } from "./connect.js";
import { Data } from "./data.js";
import { desktopsView } from "./desktops.js";
import "./words.js";

const VIEWS = { desktops: desktopsView, connect: connectView, account: accountView };

function show(root, me) {
  let view = null;
  const data = new Data(me, () => view?.update());

  function render() {
    view?.close();
    const wanted = location.hash.slice(1);
    const part = Object.hasOwn(VIEWS, wanted) ? wanted : "desktops";
    const tabs = [
      ["desktops", t("Desktops")],
      ["connect", t("Connect")],
      ["account", t("Account")],
    ];
    view = VIEWS[part](me, data);
    fill(root, header({ tabs, current: part, end: end(me) }), view.element);
    view.update();
  }

  addEventListener("hashchange", render);
  return {
    render,
    close() {
      removeEventListener("hashchange", render);
      view?.close();
      view = null;
      data.close();
    },
  };
}

const end = (me) =>
  account(me, [me.admin && { label: t("Administration"), icon: "eye", href: "/admin" }], () =>
    signOut().catch(complain),
  );

async function signOut() {
  await api("POST", "/sign-out");
  location.assign("/");
}

const root = document.getElementById("home");
start(root, (me) => show(root, me));
