/** How Desk itself is: broker, engine, doors, loops, what is leased; and what is done before work on it. */
import { api, list } from "../lib/api.js";
import { field, formDialog } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { ago, duration, moment, number } from "../lib/format.js";
import { count, t } from "../lib/i18n.js";
import { say } from "../lib/notices.js";
import { section, things } from "../lib/section.js";
import { stateWord } from "../lib/telling.js";
import { oneLine } from "./deeds.js";

const POOLS = { port: "Ports", display: "Displays", address: "Addresses", uid: "User ids" };
const LONGEST = 300;

/** Whether something in the status is not as it should be: one sentence each. */
export function troubles(status) {
  if (status === null) return [];
  const { engine, network, loops } = status;
  return [
    !engine.up && t("The container engine does not answer."),
    network !== "ok" && network,
    ...loops.filter((loop) => loop.check !== "ok").map((loop) => `${loop.name}: ${loop.check}`),
  ].filter(Boolean);
}

export function systemView(data) {
  const state = h("div", { class: "grid" });
  const element = h(
    "div",
    { class: "stack" },
    state,
    h("div", { class: "grid" }, work(data), outdatedSection()),
  );

  function update() {
    if (data.status === null) return;
    const { status } = data;
    fill(state, broker(status), leases(status), doors(status), loops(status));
  }
  return { element, update, close() {} };
}

const card = (title, ...children) =>
  h("section", { class: "card padded stack" }, h("h2", null, title), children);

const health = (good, text) => h("span", { class: `state ${good ? "good" : "bad"}` }, text);

function line(name, ...value) {
  return h("div", null, h("dt", null, name), h("dd", null, value));
}

function broker(status) {
  const { engine, starts } = status;
  return card(
    t("Broker and engine"),
    h(
      "dl",
      { class: "facts" },
      line(t("Version"), status.version),
      line(t("Runs since"), moment(status.since)),
      line(t("Engine"), health(engine.up, engine.up ? engine.version : t("does not answer"))),
      engine.problem && line(t("It says"), engine.problem),
      line(
        t("Network rules"),
        health(status.network === "ok", status.network === "ok" ? t("in place") : status.network),
      ),
      line(
        t("Starting"),
        t("{n} of {most} at once", { n: number(starts.under_way), most: number(starts.at_once) }),
      ),
      line(
        t("Waiting"),
        t("{n} of {most}", { n: number(starts.waiting), most: number(starts.waiting_most) }),
      ),
    ),
  );
}

function leases(status) {
  const pool = ({ kind, used, of }) =>
    h(
      "div",
      { class: "pool" },
      h("span", null, t(POOLS[kind] ?? kind)),
      h("meter", {
        min: 0,
        max: Math.max(1, of),
        high: of * 0.9,
        optimum: 0,
        value: used,
        "aria-label": t(POOLS[kind] ?? kind),
      }),
      h(
        "span",
        { class: "soft nowrap" },
        t("{n} of {most}", { n: number(used), most: number(of) }),
      ),
    );
  return card(
    t("In use"),
    status.leases.length === 0
      ? h("p", { class: "soft" }, t("Not known yet."))
      : status.leases.map(pool),
  );
}

function doors(status) {
  const one = (door) => ({
    head: h("b", null, door.door),
    lines: [
      count(door.attachments, "{n} client in desktops", "{n} clients in desktops"),
      door.connections !== null &&
        t("{n} connections, {known} of them signed in", {
          n: number(door.connections),
          known: number(door.authenticated ?? 0),
        }),
      t("heard {ago}", { ago: ago(door.heard_at) }) +
        (door.lag === null
          ? ""
          : ` · ${t("late by {n} ms at most", { n: number(door.lag * 1000) })}`),
    ],
    end: [],
  });
  return card(t("Front doors"), things(status.doors.map(one), t("There are none.")));
}

function loops(status) {
  const one = (loop) => ({
    head: health(loop.check === "ok", loop.name),
    lines: [
      loop.check !== "ok" && loop.check,
      `${t("every {duration}", { duration: duration(loop.every) })} · ${loop.last_at === null ? t("not yet done") : t("done {ago}", { ago: ago(loop.last_at) })}`,
    ],
    end: [],
  });
  return card(t("Loops"), things(status.loops.map(one), ""));
}

function work(data) {
  return card(
    t("Before work on this host"),
    h(
      "p",
      { class: "soft" },
      t("Let nothing start any more, and tell everybody so; what runs goes on."),
    ),
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", onclick: () => drain(data) }, t("Prepare maintenance …")),
      h("button", { type: "button", onclick: broadcast }, t("Tell everybody …")),
    ),
  );
}

function drain(data) {
  const at = h("input", { type: "datetime-local", name: "at" });
  const message = h("textarea", { name: "message", rows: 2, maxlength: LONGEST });
  formDialog(
    {
      title: t("Prepare maintenance"),
      yes: t("Let nothing start"),
      danger: true,
      submit: (said) => {
        const when = said.get("at");
        return api("PUT", "/maintenance", {
          at: when ? new Date(when).toISOString() : null,
          message: oneLine(said.get("message")),
        });
      },
      onDone: (answer) => {
        told(answer);
        data.refresh();
      },
    },
    field(t("When it is planned for, in your time"), at, t("May stay empty.")),
    field(t("What people are told beside"), message, t("May stay empty.")),
  );
}

function broadcast() {
  const text = h("textarea", { name: "text", rows: 3, required: true, maxlength: LONGEST });
  formDialog(
    {
      title: t("Tell everybody"),
      yes: t("Tell"),
      submit: (said) => api("POST", "/broadcast", { text: oneLine(said.get("text")) }),
      onDone: told,
    },
    field(t("What they read, in each desktop that runs and on terminals"), text),
  );
}

const told = ({ told: shown, missed }) =>
  say(
    t("Shown in {told} desktops; {missed} could not show it.", {
      told: number(shown),
      missed: number(missed),
    }),
  );

function outdatedSection() {
  return section({
    title: t("Desktops that run an old image"),
    load: () => list("/maintenance/outdated"),
    show: (found) =>
      things(
        found.map((one) => ({
          head: `${one.user} / ${one.name}`,
          lines: [
            `${stateWord(one.state)} · ${t("runs since {time}", { time: moment(one.since) })}`,
          ],
          end: [],
        })),
        t("There are none."),
      ),
  });
}
