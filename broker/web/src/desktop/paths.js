/** Paths in a home: relative, and without `.` and `..`. */

export const join = (folder, name) => (folder === "" ? name : `${folder}/${name}`);

export const folderOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("/")));

/** As a part of an address: each name coded, the slashes between them not. */
export const coded = (path) => path.split("/").map(encodeURIComponent).join("/");

/** `report (2).pdf` for the second try: a file that is there stays as it is. */
export function renamed(given, attempt) {
  const name = given.replaceAll("/", "_");
  if (attempt < 2) return name;
  const dot = name.lastIndexOf(".");
  return dot > 0 ? `${name.slice(0, dot)} (${attempt})${name.slice(dot)}` : `${name} (${attempt})`;
}
