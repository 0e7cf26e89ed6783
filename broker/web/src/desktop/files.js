/** Files of the desktop's home: sent by dropping or choosing them, listed, and taken along. */
import { fill, h } from "../lib/dom.js";
import { bytes, clock } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { icon } from "../lib/icons.js";
import { complain, say } from "../lib/notices.js";
import { action, tool, word } from "./bar.js";
import { folderOf, join } from "./paths.js";
import { listFolder, placeOf, upload } from "./transfer.js";

/** Where what is dropped goes. */
const DROPPED = "Downloads";

export function filesTool(viewer, desktop) {
  const sends = h("div", { class: "viewer-sends", role: "status" });
  viewer.stage.after(sends);

  async function send(files, folder) {
    for (const file of files) await one(file, folder);
  }

  async function one(file, folder) {
    const bar = h("progress", { max: 1, value: 0, "aria-label": file.name });
    const stop = new AbortController();
    const cancel = tool("close", "Cancel", { class: "plain small square", onclick: () => stop.abort() });
    const line = h("div", { class: "note" }, icon("upload"), h("span", { class: "break" }, file.name), bar, cancel);
    sends.append(line);
    try {
      const name = await upload(desktop.id, folder, file, (share) => {
        bar.value = share;
      }, stop.signal);
      say(t("“{name}” is in {folder}.", { name, folder: folder || t("Home") }));
    } catch (problem) {
      complain(problem);
    } finally {
      line.remove();
    }
  }

  dropZone(viewer, (files) => send(files, DROPPED));
  return viewer.panels.button("folder", "Files", () => browser(desktop, send));
}

/** Takes files that are dropped on the picture; a folder cannot be sent. */
function dropZone(viewer, take) {
  const { stage } = viewer;
  const mark = h("div", { class: "viewer-drop", hidden: true }, icon("upload"), word("p", "Drop files to send them to Downloads"));
  stage.append(mark);
  const wanted = (event) => event.dataTransfer.types.includes("Files") && viewer.connection.may("files");
  const show = (on) => {
    mark.hidden = !on;
  };
  stage.addEventListener("dragover", (event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    show(true);
  });
  stage.addEventListener("dragleave", (event) => show(stage.contains(event.relatedTarget)));
  stage.addEventListener("drop", (event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    show(false);
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
    const files = items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile());
    if (folders.length > 0) say(t("Folders cannot be sent; pack them first."), "warn");
    take(files);
  });
}

/** What is in the panel: one folder at a time. */
function browser(desktop, send) {
  let folder = "";
  const path = h("p", { class: "mono break" });
  const entries = h("ul", { class: "plain viewer-files" });
  const input = h("input", { type: "file", multiple: true, class: "unseen", tabindex: "-1", "aria-hidden": "true" });
  input.addEventListener("change", async () => {
    await send([...input.files], folder);
    input.value = "";
    show(folder);
  });

  async function show(wanted) {
    try {
      const found = await listFolder(desktop.id, wanted);
      folder = wanted;
      fill(path, folder === "" ? t("Home") : folder);
      const up = folder === "" ? null : line("up", "..", null, () => show(folderOf(folder)));
      fill(entries, up, found.map((entry) => lineOf(entry)));
      if (found.length === 0) entries.append(h("li", { class: "soft" }, t("Nothing is in here.")));
    } catch (problem) {
      complain(problem);
    }
  }

  function lineOf(entry) {
    const place = join(folder, entry.name);
    if (entry.folder) return line("folder", entry.name, null, () => show(place));
    const facts = [entry.size !== null && bytes(entry.size), entry.modified && clock(entry.modified)];
    return h(
      "li",
      null,
      h("a", { class: "button plain", href: placeOf(desktop.id, place), download: entry.name },
        icon("download"), h("span", { class: "break" }, entry.name), h("span", { class: "soft small nowrap" }, facts.filter(Boolean).join(" · "))),
    );
  }

  show(DROPPED).then(() => folder === "" && show(""));
  return h(
    "div",
    { class: "stack tight" },
    path,
    entries,
    h("div", { class: "buttons" }, input, action("Send files here", () => input.click(), { class: "primary" })),
  );
}

function line(drawing, name, _facts, act) {
  return h("li", null, h("button", { type: "button", class: "plain", onclick: act }, icon(drawing), h("span", { class: "break" }, name)));
}
