// Bundle the pages: node build.mjs OUT. The same sources give the same bytes, wherever they lie.
import { build } from "esbuild";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = resolve(process.argv[2] ?? join(HERE, "dist"));

// The oldest that decode what noVNC needs and know AudioWorklet, top-level await and `inset`.
const TARGET = ["chrome109", "firefox115", "safari16.4"];

// Each page is a folder of src with NAME.html, NAME.js and NAME.css (imported by NAME.js).
const PAGES = { home: "index.html", admin: "admin.html", join: "join.html", desktop: "desktop.html" };

rmSync(OUT, { recursive: true, force: true });
await bundle(PAGES, OUT);
// The image that stands alone serves its own small set.
await bundle({ alone: "index.html" }, join(OUT, "alone"));

async function bundle(pages, out) {
  const names = Object.keys(pages);
  const result = await build({
    absWorkingDir: HERE,
    entryPoints: {
      ...Object.fromEntries(names.map((name) => [name, `src/${name}/${name}.js`])),
      icon: "src/style/icon.svg",
    },
    outdir: join(out, "assets"),
    entryNames: "[name]-[hash]",
    chunkNames: "shared-[hash]",
    assetNames: "[name]-[hash]",
    publicPath: "/assets",
    bundle: true,
    splitting: true,
    format: "esm",
    target: TARGET,
    minify: true,
    charset: "utf8",
    // What a worklet runs is a file of its own, and the page asks for it by its address.
    loader: { ".svg": "copy", ".worklet.js": "file", ".woff2": "file" },
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
  });
  const built = new Map(); // "home.js" -> "/assets/home-XXXX.js"
  for (const path of Object.keys(result.metafile.outputs)) {
    const file = basename(path);
    built.set(file.replace(/-[A-Z0-9]{8}(\.[a-z0-9.]+)$/, "$1"), `/assets/${file}`);
  }
  for (const [name, file] of Object.entries(pages)) {
    const source = readFileSync(join(HERE, "src", name, `${name}.html`), "utf8");
    const page = source.replace(/"@([\w.-]+)"/g, (_, wanted) => {
      if (!built.has(wanted)) throw new Error(`${name}.html names @${wanted}, which no page makes`);
      return `"${built.get(wanted)}"`;
    });
    mkdirSync(out, { recursive: true });
    writeFileSync(join(out, file), page);
  }
  cpSync(join(HERE, "node_modules/@novnc/novnc/LICENSE.txt"), join(out, "LICENSE.novnc.txt"));
}
