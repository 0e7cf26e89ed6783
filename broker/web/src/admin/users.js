/** Accounts: who they are, whether they may in, a way in for new ones; and who waits after wrong tries. */
import { api, list, part } from "../lib/api.js";
import { copyable } from "../lib/copy.js";
import { confirm, field, formDialog, open } from "../lib/dialog.js";
import { h, keyed } from "../lib/dom.js";
import { day, duration, moment } from "../lib/format.js";
import { Growing } from "../lib/growing.js";
import { count, t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { menu } from "../lib/menu.js";
import { complain } from "../lib/notices.js";
import { section, smallButton, then, things } from "../lib/section.js";

const LOCAL = "local";
const chosen = { query: "" };

export function usersView() {
  const body = h("tbody");
  const found = h("span", { class: "soft small", role: "status" });
  const none = h("p", { class: "soft empty" }, t("Loading …"));
  const growing = new Growing(() => users && show());
  let users = null;

  async function load() {
    try {
      users = await list("/users");
      show();
    } catch (problem) {
      complain(problem);
    }
  }

  function show() {
    const query = chosen.query.toLowerCase();
    const shown = users.filter((user) => user.name.toLowerCase().includes(query));
    found.textContent = count(shown.length, "{n} user", "{n} users");
    none.textContent = shown.length === 0 ? t("There is none like that.") : "";
    keyed(
      body,
      growing.shown(shown),
      (user) => JSON.stringify(user),
      (user) => row(user, load),
      () => {},
    );
  }

  const search = h("input", {
    type: "search",
    value: chosen.query,
    "aria-label": t("Search users"),
    placeholder: t("Name"),
    oninput: () => {
      chosen.query = search.value;
      growing.anew();
      if (users) show();
    },
  });
  const add = h(
    "button",
    { type: "button", onclick: () => addUser(load) },
    icon("plus"),
    t("Add a user"),
  );
  load();
  const columns = ["User", "Keys", "Password", "Since", ""];
  const element = h(
    "div",
    { class: "stack" },
    blocksSection(),
    h("div", { class: "row tools" }, search, found, h("span", { class: "push" }, add)),
    h(
      "div",
      { class: "card scrolled" },
      h(
        "table",
        { class: "cards" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            columns.map((one) =>
              h(
                "th",
                { scope: "col" },
                one ? t(one) : h("span", { class: "unseen" }, t("Actions")),
              ),
            ),
          ),
        ),
        body,
      ),
      none,
    ),
    growing.end,
  );
  return { element, update() {}, close: () => growing.close() };
}

function row(user, again) {
  const cell = (label, ...value) => h("td", { "data-label": t(label) }, value);
  const actions = menu(
    t("Actions for {name}", { name: user.name }),
    () => [
      { label: t("Invite …"), icon: "key", act: () => invite(user) },
      user.enabled
        ? { label: t("Disable …"), icon: "stop", danger: true, act: () => disable(user, again) }
        : {
            label: t("Enable"),
            icon: "check",
            act: () => then(again, () => api("POST", `/users/${part(user.name)}/enable`)),
          },
    ],
    { small: true },
  );
  return h(
    "tr",
    null,
    h(
      "td",
      { class: "head" },
      h("b", null, user.name),
      " ",
      user.admin && h("span", { class: "tag" }, t("admin")),
      " ",
      !user.enabled && h("span", { class: "tag warn" }, t("disabled")),
    ),
    cell("Keys", user.keys),
    cell(
      "Password",
      user.source === LOCAL ? t("by Desk") : t("by {source}", { source: user.source }),
    ),
    cell("Since", day(user.created_at)),
    h("td", { class: "actions" }, actions),
  );
}

function addUser(again) {
  const name = h("input", {
    name: "name",
    type: "text",
    required: true,
    maxlength: 31,
    pattern: "[a-z][a-z0-9_\\-]*",
    autocapitalize: "none",
    autocomplete: "off",
    spellcheck: "false",
  });
  formDialog(
    {
      title: t("Add a user"),
      yes: t("Add"),
      submit: (said) => api("POST", "/users", { name: said.get("name"), admin: said.has("admin") }),
      onDone: (user) => {
        again();
        invite(user);
      },
    },
    field(t("Name"), name, t("1 to 31 characters a-z, 0-9, _ and -; a letter first.")),
    h(
      "label",
      { class: "line" },
      h("input", { type: "checkbox", name: "admin" }),
      t("An administrator"),
    ),
  );
}

/** Make an invite; its token is in the one command that is shown. */
async function invite(user) {
  try {
    const made = await api("POST", `/users/${part(user.name)}/invites`, {});
    open(
      { title: t("Invite for {user}", { user: user.name }), wide: true },
      h(
        "p",
        null,
        t(
          "Send them this command. Whoever runs it first binds their key to the account. It is shown now and never again.",
        ),
      ),
      copyable(`ssh -p ${made.port} ${made.login}@${location.hostname}`),
      h("p", { class: "soft" }, t("Valid until {time}", { time: moment(made.expires_at) })),
    );
  } catch (problem) {
    complain(problem);
  }
}

async function disable(user, again) {
  const yes = await confirm({
    title: t("Disable {user}?", { user: user.name }),
    text: t(
      "Nothing lets them in any more, and what they have open ends. Desktops sleep in their time; homes stay.",
    ),
    yes: t("Disable"),
    danger: true,
  });
  if (yes) await then(again, () => api("POST", `/users/${part(user.name)}/disable`));
}

function blocksSection() {
  const element = section({
    title: t("Waiting after wrong passwords or codes"),
    load: () => list("/login-blocks"),
    show: (blocks, again) => {
      element.hidden = blocks.length === 0;
      return things(
        blocks.map((block) => blocked(block, again)),
        "",
      );
    },
  });
  element.hidden = true;
  return element;
}

function blocked(block, again) {
  const lift = () => then(again, () => api("DELETE", `/login-blocks/${part(block.account)}`));
  return {
    head:
      block.account === null
        ? h("i", null, t("a name that nobody has"))
        : h("b", null, block.account),
    lines: [
      count(block.failures, "{n} wrong try", "{n} wrong tries") +
        (block.place === null ? "" : ` · ${block.place}`),
      t("waits for {duration} more", { duration: duration(block.seconds) }),
    ],
    end: block.account === null ? [] : [smallButton(t("Lift"), lift)],
  };
}
