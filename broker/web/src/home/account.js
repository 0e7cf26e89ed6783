/** The part of the page about who one is: keys, password, codes, tokens, sign-ins. */
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { codesSection } from "./codes.js";
import { keysSection } from "./keys.js";
import { passwordSection } from "./password.js";
import { signInsSection } from "./signins.js";
import { tokensSection } from "./tokens.js";

export function accountView(me) {
  const parts = [keysSection, passwordSection, codesSection, signInsSection, tokensSection];
  const element = h(
    "main",
    { class: "page stack medium" },
    h("h1", { class: "break" }, t("Account of {user}", { user: me.user })),
    parts.map((part) => part(me)),
  );
  return { element, update() {}, close() {} };
}
