/** Keys of SSH that prove the user. */
import { api, list, part } from "../lib/api.js";
import { confirm, field, formDialog } from "../lib/dialog.js";
import { h } from "../lib/dom.js";
import { ago, moment } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { say } from "../lib/notices.js";
import { section, smallButton, then, things } from "../lib/section.js";

export function keysSection(me) {
  const place = `/users/${part(me.user)}/keys`;
  return section({
    title: t("SSH keys"),
    action: { label: t("Add a key"), act: (again) => add(place, again) },
    load: () => list(place),
    show: (keys, again) =>
      things(
        keys.map((key) => thing(place, key, again)),
        t("You have no key yet: add one, and “ssh” lets you in by it."),
      ),
  });
}

function thing(place, key, again) {
  const at = `${place}/${part(key.fingerprint)}`;
  return {
    head: h("b", null, key.name),
    lines: [
      h("span", { class: "mono" }, `${key.type} ${key.fingerprint}`),
      key.last_used_at
        ? t("Last used {ago} from {address}", {
            ago: ago(key.last_used_at),
            address: key.last_used_from ?? "?",
          })
        : t("Added {ago}, never used", { ago: ago(key.added_at) }),
      key.expires_at && t("Valid until {time}", { time: moment(key.expires_at) }),
      key.sources.length > 0 && t("Only from {places}", { places: key.sources.join(", ") }),
    ],
    end: [
      smallButton(t("Rename"), () => rename(at, key, again)),
      smallButton(t("Remove"), () => remove(at, key, again), "danger"),
    ],
  };
}

function add(place, again) {
  const text = h("textarea", {
    name: "key",
    rows: 4,
    required: true,
    class: "mono",
    spellcheck: "false",
    placeholder: "ssh-ed25519 AAAA… ada@laptop",
  });
  formDialog(
    {
      title: t("Add a key"),
      yes: t("Add"),
      submit: (said) => api("POST", place, { key: said.get("key").trim() }),
      onDone: (key) => {
        say(t("The key “{name}” lets you in now.", { name: key.name }));
        again();
      },
    },
    field(
      t("The public key"),
      text,
      t("One line, as in ~/.ssh/id_ed25519.pub. Never the private key."),
    ),
  );
}

function rename(at, key, again) {
  const name = h("input", {
    name: "name",
    type: "text",
    required: true,
    maxlength: 64,
    value: key.name,
  });
  formDialog(
    {
      title: t("Rename a key"),
      yes: t("Rename"),
      submit: (said) => api("PATCH", at, { name: said.get("name") }),
      onDone: again,
    },
    field(t("Name"), name),
  );
}

async function remove(at, key, again) {
  const yes = await confirm({
    title: t("Remove the key “{name}”?", { name: key.name }),
    text: t("What it opened ends within seconds, and it lets nobody in any more."),
    yes: t("Remove"),
    danger: true,
  });
  if (yes) await then(again, () => api("DELETE", at));
}
