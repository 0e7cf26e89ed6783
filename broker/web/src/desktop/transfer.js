/** Files of a desktop over HTTP: what the door does by sftp. */
import { proof } from "../lib/api.js";
import { Problem, problemOf, unreachable } from "../lib/problem.js";
import { coded, join, renamed } from "./paths.js";

const EXISTS = 409;

/** Names that are tried for a file whose own is taken. */
const NAMES = 50;

export const placeOf = (desktop, path) => `/files/${desktop}/${coded(path)}`;

/** What a folder of the home has: `{name, folder, size, modified}`, folders first. Raises Problem. */
export async function listFolder(desktop, path) {
  let response;
  try {
    response = await fetch(`/files/${desktop}?path=${encodeURIComponent(path)}`, { cache: "no-store" });
  } catch {
    throw unreachable();
  }
  if (!response.ok) throw await problemOf(response);
  const { entries } = await response.json();
  return entries
    .map(({ name, kind, size = null, modified = null }) => ({ name, folder: kind === "folder", size, modified }))
    .sort((one, other) => other.folder - one.folder || one.name.localeCompare(other.name));
}

/**
 * Send a file to a folder of the home; `onProgress` hears which share is there. Answers the name
 * that it got: another where there is one of its own already. Raises Problem, or AbortError.
 */
export async function upload(desktop, folder, file, onProgress, signal) {
  for (let attempt = 1; attempt <= NAMES; attempt += 1) {
    const name = renamed(file.name, attempt);
    const status = await put(placeOf(desktop, join(folder, name)), file, onProgress, signal);
    if (status !== EXISTS) return name;
  }
  throw new Problem(EXISTS, "conflict", "There are too many files of that name.");
}

/** fetch tells no progress of what it sends: this is the older way, which does. */
function put(address, file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address);
    for (const [name, value] of Object.entries(proof())) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 1);
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    request.onload = async () => {
      if (request.status === EXISTS || (request.status >= 200 && request.status < 300)) {
        resolve(request.status);
        return;
      }
      const again = request.getResponseHeader("Retry-After");
      const headers = again === null ? {} : { "Retry-After": again };
      reject(await problemOf(new Response(request.responseText, { status: request.status, headers })));
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
