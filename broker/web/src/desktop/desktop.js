/** The page of one desktop, for its owner, or for an admin who looks over. */
import { start } from "../signin/start.js";
import "../home/words.js";
import { filesTool } from "./files.js";
import { People } from "./people.js";
import { powerTool } from "./power.js";
import { Sleep } from "./sleep.js";
import { openViewer } from "./viewer.js";
import "./desktop.css";

const PLACE = /^\/desktop\/([^/]+)\/?$/;

const id = PLACE.exec(location.pathname)?.[1] ?? "";
const asked = new URLSearchParams(location.search);
const look = asked.has("look");
const query = look ? "?look" : asked.has("view") ? "?view" : "";
const root = document.getElementById("desktop");

start(root, () => {
  const desktop = { id, name: "" };
  const people = look ? null : new People(desktop);
  let sleep = null;
  let viewer = null;

  function tools(made) {
    viewer = made;
    if (look) return [];
    sleep = new Sleep(made.banner, () => made.connection.desk?.session ?? null);
    return [
      [filesTool(made, desktop), () => made.connection.may("files")],
      [people.tool, () => Boolean(made.connection.desk?.share)],
      [powerTool(made, desktop), () => true],
    ];
  }

  function onState(state) {
    if (state !== "live" || viewer === null) return;
    desktop.name = viewer.connection.desk.desktop ?? "";
    sleep?.watch();
    people?.watch();
  }

  return {
    render() {
      if (viewer !== null) return;
      root.replaceChildren();
      openViewer(root, {
        socket: `/ws/desktops/${id}/screen${query}`,
        sound: `/ws/desktops/${id}/sound${query}`,
        home: look ? "/admin" : "/",
        // Whoever is signed out finds the way in on the page itself.
        actions: { "sign-in": () => location.reload() },
        tools,
        onState,
      });
    },
    close() {
      sleep?.close();
      people?.close();
      viewer?.close();
    },
  };
});
