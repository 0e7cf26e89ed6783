/** What a user does with a desktop: each asks what it needs, does it, and says so. */
import { api } from "../lib/api.js";
import { confirm, field, formDialog } from "../lib/dialog.js";
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { keepAwake } from "../lib/keeping.js";
import { complain, say } from "../lib/notices.js";

/** Seconds that the broker is given before it answers that a start is under way. */
const PATIENCE = 20;

const SIZES = ["1280x800", "1440x900", "1920x1080", "2560x1440", "1024x768", "800x600"];
/** Bounds of the broker. */
const WIDTHS = { min: 320, max: 7680 };
const HEIGHTS = { min: 200, max: 4320 };

export async function start(data, desktop) {
  data.asked.set(desktop.id, Date.now());
  data.touch();
  try {
    await api("POST", `/desktops/${desktop.id}/start?wait=${PATIENCE}`);
  } catch (problem) {
    complain(problem);
  } finally {
    data.asked.delete(desktop.id);
    await data.refresh();
  }
}

export async function stop(data, desktop) {
  const yes = await confirm({
    title: t("Stop “{name}”?", { name: desktop.name }),
    text: t("Its programs end, and what is not saved is lost. The home is kept."),
    yes: t("Stop"),
    danger: true,
  });
  if (yes) await act(data, () => api("POST", `/desktops/${desktop.id}/stop`));
}

export async function restart(data, desktop) {
  const yes = await confirm({
    title: t("Restart “{name}” into the new image?", { name: desktop.name }),
    text: t("Its programs end, and what is not saved is lost. The home is kept."),
    yes: t("Restart"),
    danger: true,
  });
  if (!yes) return;
  await act(data, () => api("POST", `/desktops/${desktop.id}/stop`));
  await start(data, desktop);
}

export const sleep = (data, desktop) =>
  act(data, () => api("POST", `/sessions/${desktop.session}/freeze`));

export const extend = (data, desktop) =>
  keepAwake({ session: desktop.session, name: desktop.name, onDone: () => data.refresh() });

export function resize(data, desktop) {
  const number = (name, value, bounds) =>
    h("input", { type: "number", name, value, required: true, inputmode: "numeric", ...bounds });
  const width = number("width", 1280, WIDTHS);
  const height = number("height", 800, HEIGHTS);
  const sizes = h(
    "select",
    {
      onchange: (event) => {
        [width.value, height.value] = event.target.value.split("x");
      },
    },
    SIZES.map((size) => h("option", { value: size }, size.replace("x", " × "))),
  );
  formDialog(
    {
      title: t("Resolution of “{name}”", { name: desktop.name }),
      yes: t("Set"),
      submit: (said) =>
        api("PUT", `/sessions/${desktop.session}/size`, {
          width: Number(said.get("width")),
          height: Number(said.get("height")),
        }),
      onDone: () => done(data, t("The resolution is set.")),
    },
    h(
      "p",
      { class: "soft" },
      t("A browser or xpra that fits the desktop to its window sets it anew."),
    ),
    field(t("Common ones"), sizes),
    h("div", { class: "two" }, field(t("Width"), width), field(t("Height"), height)),
  );
}

export function add(data) {
  const name = h("input", {
    name: "name",
    type: "text",
    required: true,
    maxlength: 31,
    pattern: "[a-z][a-z0-9_\\-]*",
    autocapitalize: "none",
    autocomplete: "off",
    spellcheck: "false",
    value: (data.desktops ?? []).length === 0 ? "main" : "",
  });
  formDialog(
    {
      title: t("A new desktop"),
      yes: t("Make it"),
      submit: (said) => api("POST", "/desktops", { name: said.get("name") }),
      onDone: (made) =>
        done(data, t("“{name}” is made. Open it to start it.", { name: made.name })),
    },
    field(
      t("Name"),
      name,
      t(
        "1 to 31 characters a-z, 0-9, _ and -; a letter first. The name of one that was removed brings its home back.",
      ),
    ),
  );
}

export async function remove(data, desktop) {
  const yes = await confirm({
    title: t("Remove “{name}”?", { name: desktop.name }),
    text: t("Its programs end. The home is kept: a new desktop of the same name gets it back."),
    yes: t("Remove"),
    danger: true,
  });
  if (yes) await act(data, () => api("DELETE", `/desktops/${desktop.id}`));
}

/** Do it, complain when it is refused, look at what came of it. */
async function act(data, deed) {
  try {
    await deed();
  } catch (problem) {
    complain(problem);
  }
  await data.refresh();
}

function done(data, text) {
  say(text);
  data.refresh();
}
