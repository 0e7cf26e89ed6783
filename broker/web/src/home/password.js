/** The user's password. */
import { api, part } from "../lib/api.js";
import { confirm, field, form } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { busy, say } from "../lib/notices.js";
import { section } from "../lib/section.js";

const LOCAL = "local";
const SHORTEST = 10;

export function passwordSection(me) {
  const place = `/users/${part(me.user)}`;
  return section({
    title: t("Password"),
    load: () => api("GET", place),
    show: (user) =>
      user.source === LOCAL
        ? change(`${place}/password`)
        : h(
            "p",
            { class: "soft break" },
            t("It is checked by “{source}”, and changed there.", { source: user.source }),
          ),
  });
}

function change(place) {
  const box = h("div", { class: "stack" });
  const idle = () =>
    fill(
      box,
      h(
        "p",
        { class: "soft" },
        t(
          "A new one ends what was opened by the one before; if you signed in by it, this page too.",
        ),
      ),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", class: "small", onclick: ask }, t("Set a new one")),
        h(
          "button",
          {
            type: "button",
            class: "small danger",
            onclick: (event) => remove(event.currentTarget, place),
          },
          t("Take it away"),
        ),
      ),
    );
  const ask = () => {
    const input = (name) =>
      h("input", {
        name,
        type: "password",
        required: true,
        minlength: SHORTEST,
        autocomplete: "new-password",
      });
    const again = input("again");
    const first = input("password");
    const check = () =>
      again.setCustomValidity(first.value === again.value ? "" : t("The two are not the same."));
    for (const one of [first, again]) one.addEventListener("input", check);
    fill(
      box,
      form(
        {
          yes: t("Set"),
          submit: () => api("PUT", place, { password: first.value }),
          onDone: set,
          onCancel: idle,
        },
        field(t("New password"), first, t("At least {n} characters.", { n: SHORTEST })),
        field(t("Once more"), again),
      ),
    );
    first.focus();
  };
  const set = () => {
    say(t("The password is set."));
    idle();
  };
  idle();
  return box;
}

async function remove(button, place) {
  const yes = await confirm({
    title: t("Take the password away?"),
    text: t("Only keys let you in then. A last way in cannot be taken away."),
    yes: t("Take it away"),
    danger: true,
  });
  if (yes)
    await busy(button, () =>
      api("DELETE", place).then(() => say(t("There is no password any more."))),
    );
}
