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
  return output.map(({ fileName }) => join("dist/inspector", fileName));
}
