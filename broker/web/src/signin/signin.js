/** Signing in: name and password, then the code where one is wanted; or somebody else's word. */
import { PREFIX, api } from "../lib/api.js";
import { field } from "../lib/dialog.js";
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { webLine } from "../lib/lines.js";
import { sentence, waiting } from "../lib/sentences.js";

/** The view; `problem` is why one has to sign in again, `onDone` is called when one is in. */
export function signIn({ problem, onDone }) {
  const box = h("div", { class: "card padded stack" });
  const main = h("main", { class: "page narrow" }, box);
  const show = (...children) => {
    fill(box, ...children);
    box.querySelector("input")?.focus();
  };
  choose(show, problem, onDone);
  return main;
}

async function choose(show, problem, onDone) {
  const title = h("h1", null, t("Sign in"));
  let ways;
  try {
    ways = await api("GET", "/sign-in");
  } catch (refusal) {
    const again = () => choose(show, problem, onDone);
    const button = h(
      "button",
      { type: "button", class: "primary", onclick: again },
      t("Try again"),
    );
    return show(title, bad(refusal), h("div", { class: "buttons" }, button));
  }
  return show(
    title,
    problem && bad(problem),
    ways.password && passwordForm(show, onDone),
    ways.password && ways.oidc && h("p", { class: "or soft" }, t("or")),
    ways.oidc &&
      h(
        "a",
        { class: "button", href: `${PREFIX}/sign-in/oidc` },
        icon("key"),
        t("Sign in with {name}", { name: ways.oidc }),
      ),
    h(
      "p",
      { class: "hint" },
      t("With a key, but no password?"),
      " ",
      t("This prints a link that signs you in:"),
    ),
    h("code", { class: "break" }, webLine(location.hostname, ways.ssh_port)),
  );
}

function passwordForm(show, onDone) {
  const user = input({
    name: "user",
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: 256,
  });
  const password = input({ name: "password", type: "password", autocomplete: "current-password" });
  const submit = async () => {
    const answer = await api("POST", "/sign-in", { user: user.value, password: password.value });
    password.value = "";
    return answer;
  };
  const next = (answer) => (answer.ticket ? codeForm(show, answer.ticket, onDone) : onDone());
  return patientForm(
    t("Sign in"),
    submit,
    next,
    field(t("User name"), user),
    field(t("Password"), password),
  );
}

function codeForm(show, ticket, onDone) {
  const code = input({
    name: "code",
    class: "code",
    autocomplete: "one-time-code",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: 64,
  });
  const submit = () => api("POST", "/sign-in/code", { ticket, code: code.value.trim() });
  show(
    h("h1", null, t("One-time code")),
    h(
      "p",
      { class: "soft" },
      t("The six digits that your authenticator shows now, or one of your recovery codes."),
    ),
    patientForm(t("Sign in"), submit, onDone, field(t("Code"), code)),
    h(
      "button",
      { type: "button", class: "plain", onclick: () => choose(show, null, onDone) },
      icon("back"),
      t("Start again"),
    ),
  );
}

const input = (props) => h("input", { type: "text", required: true, ...props });

const bad = (problem) =>
  h(
    "p",
    { class: "note bad", role: "alert" },
    icon("alert"),
    h("span", { class: "break" }, sentence(problem)),
  );

/** A form that says why it was refused, and waits as long as it is told to, counting down. */
function patientForm(label, submit, next, ...fields) {
  const complaint = h("div", { role: "alert" });
  const patience = h("p", { class: "hint" });
  const button = h("button", { type: "submit", class: "primary" }, label);
  const form = h("form", { class: "form" }, fields, complaint, button, patience);

  function wait(until) {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    fill(patience, left > 0 && waiting(left));
    if (left <= 0) fill(complaint);
    else if (form.isConnected) setTimeout(wait, 1000, until);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(complaint);
    try {
      const answer = await submit();
      await next(answer);
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
      button.disabled = false;
      fill(complaint, bad(problem));
      if (problem.retryAfter) wait(Date.now() + problem.retryAfter * 1000);
      [...form.querySelectorAll("input")].at(-1)?.select();
    }
  });
  return form;
}
