import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BuildOptions, build, type Format } from "esbuild";

const root = join(import.meta.dirname, "../..");

/** The app that each bundler bundles. */
export const ENTRY = join(import.meta.dirname, "app.ts");

const page = readFileSync(join(root, "docs/guides/bundling.md"), "utf8");

/** Defines `require` in an ES module, as "Bundle for Lambda" documents it. */
export const BANNER = /--banner:js="([^"]+)"/.exec(page)?.[1] ?? "";

/** A folder outside the repository where bundles run with nothing but the packages that are kept external. */
export async function deploymentFolder(...externals: readonly string[]) {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bundle-"));
  await mkdir(join(folder, "node_modules"));
  for (const name of externals) {
    await mkdir(join(folder, "node_modules", name, ".."), { recursive: true });
    await symlink(join(root, "node_modules", name), join(folder, "node_modules", name));
  }
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** Bundles the app with esbuild, minified. Returns the path of the bundle. */
export async function bundleWithEsbuild(
  folder: string,
  format: Extract<Format, "esm" | "cjs">,
  options: BuildOptions = {},
): Promise<string> {
  const extension = format === "esm" ? ".mjs" : ".cjs";
  await build({
    entryPoints: [ENTRY],
    outdir: folder,
    outExtension: { ".js": extension },
    format,
    bundle: true,
    minify: true,
    platform: "node",
    target: "node20",
    external: ["libsql"],
    logLevel: "silent",
    ...options,
  });
  return join(folder, `app${extension}`);
}
