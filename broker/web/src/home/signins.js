/** Browsers in which the user is signed in. */
import { api, list } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { ago } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { section, smallButton, then, things } from "../lib/section.js";

export function signInsSection(me) {
  return section({
    title: t("Where you are signed in"),
    load: () => list(`/sign-ins?user=${encodeURIComponent(me.user)}`),
    show: (found, again) =>
      things(
        found.map((one) => thing(one, again)),
        t("Nowhere."),
      ),
  });
}

function thing(one, again) {
  return {
    head: [
      h("b", null, one.browser),
      " ",
      one.current && h("span", { class: "tag" }, t("this one")),
    ],
    lines: [
      t("From {address}, signed in {ago}", { address: one.address, ago: ago(one.made_at) }),
      one.last_used_at && t("Last used {ago}", { ago: ago(one.last_used_at) }),
    ],
    end: one.current
      ? []
      : [
          smallButton(
            t("End"),
            () => then(again, () => api("DELETE", `/sign-ins/${one.id}`)),
            "danger",
          ),
        ],
  };
}
