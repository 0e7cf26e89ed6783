/** Showing a desktop to others: links, who came by them, and the question whether they may. */
import { api } from "../lib/api.js";
import { copyable } from "../lib/copy.js";
import { field, form, open } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { clock, duration } from "../lib/format.js";
import { count, t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { SPANS } from "../lib/keeping.js";
import { busy } from "../lib/notices.js";

const STATES = {
  asked: "wants to come in",
  in: "is in",
  refused: "was refused",
  left: "left",
  ended: "was sent away",
};

export const modeWord = (mode) => (mode === "rw" ? t("look, type and click") : t("look only"));

/** Guests of a desktop that are so now. */
export const guests = (data, desktop, state) =>
  (data.shares.get(desktop.id) ?? []).flatMap((share) =>
    share.guests.filter((guest) => guest.state === state).map((guest) => ({ share, guest })),
  );

/** One line on who looks on, and who waits to; empty when nobody does. */
export function onlookers(data, desktop) {
  const inside = guests(data, desktop, "in").length;
  const waiting = guests(data, desktop, "asked").length;
  return [
    inside > 0 && count(inside, "{n} guest is in", "{n} guests are in"),
    waiting > 0 &&
      count(waiting, "{n} guest waits for your answer", "{n} guests wait for your answer"),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** The dialog of a desktop's shares; answers what brings it up to date. */
export function showShares(data, desktop, onClose) {
  const links = h("div", { class: "stack" });
  const made = h("div", { class: "stack", role: "status" });
  open(
    { title: t("Share “{name}”", { name: desktop.name }), wide: true, onClose },
    newShare(data, desktop, made),
    made,
    links,
  );
  const update = () => fill(links, shareList(data, desktop));
  update();
  return update;
}

function newShare(data, desktop, made) {
  const mode = h(
    "select",
    { name: "mode" },
    ["ro", "rw"].map((one) => h("option", { value: one }, modeWord(one))),
  );
  const valid = h(
    "select",
    { name: "valid" },
    Object.entries(SPANS).map(([span, seconds]) => h("option", { value: span }, duration(seconds))),
  );
  const submit = (said) =>
    api("POST", `/desktops/${desktop.id}/shares`, {
      mode: said.get("mode"),
      valid: said.get("valid"),
    });
  const onDone = (share) => {
    fill(
      made,
      h(
        "p",
        null,
        t(
          "This link is shown now and never again. Whoever has it can ask to come in; you decide on each.",
        ),
      ),
      copyable(share.link, t("Copy the link")),
    );
    data.refresh();
  };
  return form(
    { yes: t("Make a link"), submit, onDone },
    h(
      "p",
      { class: "soft" },
      t("Guests see the screen, and not whose it is. You are asked before each comes in."),
    ),
    h("div", { class: "two" }, field(t("They may"), mode), field(t("For"), valid)),
  );
}

function shareList(data, desktop) {
  const shares = data.shares.get(desktop.id) ?? [];
  if (shares.length === 0) return h("p", { class: "soft" }, t("Nothing is shared now."));
  return shares.map((share) =>
    h(
      "section",
      { class: "share" },
      h(
        "div",
        { class: "row apart" },
        h(
          "h3",
          null,
          modeWord(share.mode),
          h(
            "span",
            { class: "soft" },
            ` · ${t("until {time}", { time: clock(share.expires_at) })}`,
          ),
        ),
        deed(data, t("End"), "danger small", () => api("DELETE", `/shares/${share.id}`)),
      ),
      share.guests.length === 0
        ? h("p", { class: "soft small" }, t("Nobody has come by this link yet."))
        : h(
            "ul",
            { class: "plain stack tight" },
            share.guests.map((guest) => guestLine(data, share, guest)),
          ),
    ),
  );
}

function guestLine(data, share, guest) {
  const place = `/shares/${share.id}/guests/${guest.id}`;
  const to = (verb) => () => api("POST", `${place}/${verb}`);
  return h(
    "li",
    { class: "row apart" },
    h(
      "span",
      { class: "break" },
      h("b", null, guest.name),
      " ",
      h("span", { class: "soft" }, `${t(STATES[guest.state])} · ${guest.address}`),
    ),
    h(
      "span",
      { class: "row" },
      guest.state === "asked" && deed(data, t("Let in"), "primary small", to("let-in")),
      guest.state === "asked" && deed(data, t("Refuse"), "small", to("refuse")),
      guest.state === "in" && deed(data, t("Send away"), "danger small", to("end")),
    ),
  );
}

function deed(data, label, kind, act) {
  const button = h("button", { type: "button", class: kind }, label);
  button.addEventListener("click", () => busy(button, act).then(() => data.refresh()));
  return button;
}

/** Asks about each guest who wants to come in, once; the desktop asks too, and either answer counts. */
export class Doorbell {
  #asking = new Map();

  /** Look for who waits; those that were answered elsewhere are asked about no more. */
  update(data) {
    const waiting = new Map();
    for (const desktop of data.desktops ?? []) {
      for (const { share, guest } of guests(data, desktop, "asked"))
        waiting.set(guest.id, { desktop, share, guest });
    }
    for (const [id, dialog] of this.#asking) {
      if (waiting.has(id)) continue;
      this.#asking.delete(id);
      dialog?.close();
    }
    for (const [id, one] of waiting)
      if (!this.#asking.has(id)) this.#asking.set(id, this.#ask(data, one));
  }

  #ask(data, { desktop, share, guest }) {
    const answer = (verb) => async (event) => {
      await busy(event.currentTarget, () =>
        api("POST", `/shares/${share.id}/guests/${guest.id}/${verb}`),
      );
      dialog.close();
      data.refresh();
    };
    const onClose = () => this.#asking.has(guest.id) && this.#asking.set(guest.id, null);
    const dialog = open(
      { title: t("Somebody wants to come in"), onClose },
      h(
        "p",
        { class: "break" },
        t("A guest who says to be “{guest}”, from {address}, has a link to “{desktop}”.", {
          guest: guest.name,
          address: guest.address,
          desktop: desktop.name,
        }),
      ),
      h(
        "p",
        { class: "note" },
        icon("eye"),
        h(
          "span",
          null,
          share.mode === "rw"
            ? t("They would see the screen, type and click.")
            : t("They would see the screen, and could touch nothing."),
        ),
      ),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: answer("refuse") }, t("Refuse")),
        h("button", { type: "button", class: "primary", onclick: answer("let-in") }, t("Let in")),
      ),
    );
    return dialog;
  }
}
