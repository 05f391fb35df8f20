import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "vite";

/**
 * Builds the page of the inspector into dist/inspector/, without a check of its types.
 *
 * The names of its files have no hash, because src/local/inspector/page-files.ts lists them.
 *
 * @returns the paths of the written files
 */
export async function bundleInspector() {
  const outDir = join(import.meta.dirname, "dist/inspector");
  const { output } = await build({
    configFile: false,
    root: join(import.meta.dirname, "src/inspector-page"),
    base: "/.inspector/",
    logLevel: "warn",
    // Also if a test with NODE_ENV=test runs the build.
    define: { "process.env.NODE_ENV": '"production"' },
    oxc: { jsx: { development: false } },
    build: {
      outDir,
      emptyOutDir: false,
      modulePreload: false,
      reportCompressedSize: false,
      // A larger file is no problem, because the page is loaded from this machine.
      chunkSizeWarningLimit: 1024,
      rolldownOptions: {
        output: {
          entryFileNames: "inspector.js",
          assetFileNames: "inspector[extname]",
          codeSplitting: false,
        },
        // Mantine marks its files with "use client", which has no meaning here.
        checks: { pluginTimings: false, moduleLevelDirective: false },
      },
    },
  });
  await writeFile(join(outDir, LICENSES), licensesOf(output));
  return [...output.map(({ fileName }) => fileName), LICENSES].map((name) => join("dist/inspector", name));
}

const LICENSES = "LICENSES.txt";

/** Returns the licenses of the packages that a bundle contains. They require that it includes them. */
function licensesOf(output) {
  const files = output.flatMap(({ modules = {} }) => Object.keys(modules));
  const folders = new Set(
    files.flatMap((file) => /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []),
  );
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = ["LICENSE", "LICENSE.md", "license", "LICENCE"].find((each) =>
      existsSync(join(folder, each)),
    );
    const text = file === undefined ? license : readFileSync(join(folder, file), "utf8").trim();
    return `${name} ${version}\n\n${text}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}
