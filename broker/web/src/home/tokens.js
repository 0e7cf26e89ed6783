/** Tokens that let the user's programs use the API. */
import { api, list } from "../lib/api.js";
import { copyable } from "../lib/copy.js";
import { confirm, field, formDialog, open } from "../lib/dialog.js";
import { h } from "../lib/dom.js";
import { ago, moment } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { section, smallButton, then, things } from "../lib/section.js";

const SCOPES = {
  read: "see what is there",
  sessions: "make, start, stop and remove desktops",
  users: "change keys, password and tokens",
  admin: "make administrators, change groups",
};
const SPANS = { "30d": "30 days", "90d": "90 days", "365d": "a year", never: "without end" };

export function tokensSection(me) {
  return section({
    title: t("Tokens for programs"),
    text: t("A program that shows one uses the API as you, as far as its scopes allow."),
    action: { label: t("Make a token"), act: (again) => make(me, again) },
    load: () => list(`/tokens?user=${encodeURIComponent(me.user)}`),
    show: (tokens, again) =>
      things(
        tokens.map((token) => thing(token, again)),
        t("There are none."),
      ),
  });
}

function thing(token, again) {
  return {
    head: [
      h("b", null, token.name),
      " ",
      token.scopes.map((scope) => [h("span", { class: "tag" }, scope), " "]),
    ],
    lines: [
      token.last_used_at
        ? t("Last used {ago} from {address}", {
            ago: ago(token.last_used_at),
            address: token.last_used_from ?? "?",
          })
        : t("Made {ago}, never used", { ago: ago(token.made_at) }),
      token.expires_at
        ? t("Valid until {time}", { time: moment(token.expires_at) })
        : t("Valid without end"),
    ],
    end: [smallButton(t("Revoke"), () => revoke(token, again), "danger")],
  };
}

function make(me, again) {
  const name = h("input", {
    name: "name",
    type: "text",
    required: true,
    maxlength: 64,
    autocomplete: "off",
  });
  const boxes = Object.entries(SCOPES)
    .filter(([scope]) => me.scopes.includes(scope))
    .map(([scope, gives]) =>
      h(
        "label",
        { class: "line" },
        h("input", { type: "checkbox", name: "scopes", value: scope, checked: scope === "read" }),
        h("span", null, h("code", null, scope), " · ", t(gives)),
      ),
    );
  const spans = Object.entries(SPANS).map(([span, label]) =>
    h("option", { value: span, selected: span === "90d" }, t(label)),
  );
  formDialog(
    {
      title: t("Make a token"),
      yes: t("Make it"),
      submit: (said) =>
        api("POST", "/tokens", {
          name: said.get("name"),
          scopes: said.getAll("scopes"),
          valid: said.get("valid"),
          user: me.user,
        }),
      onDone: (token) => {
        again();
        showOnce(token);
      },
    },
    field(t("What it is for"), name),
    h("fieldset", null, h("legend", null, t("It may")), boxes),
    field(t("Valid for"), h("select", { name: "valid" }, spans)),
  );
}

function showOnce(token) {
  open(
    { title: t("Token “{name}”", { name: token.name }), wide: true },
    h("p", null, t("It is shown now and never again. Keep it as you keep a password.")),
    copyable(token.secret),
    h(
      "p",
      { class: "soft small" },
      t("Programs show it as"),
      " ",
      h("code", null, "Authorization: Bearer …"),
    ),
  );
}

async function revoke(token, again) {
  const yes = await confirm({
    title: t("Revoke the token “{name}”?", { name: token.name }),
    text: t("What goes on by it ends within seconds."),
    yes: t("Revoke"),
    danger: true,
  });
  if (yes) await then(again, () => api("DELETE", `/tokens/${token.id}`));
}
