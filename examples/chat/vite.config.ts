import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  root: fileURLToPath(new URL("page", import.meta.url)),
  // Also if a test with NODE_ENV=test runs the build.
  define: { "process.env.NODE_ENV": '"production"' },
  oxc: { jsx: { development: false } },
  build: {
    outDir: fileURLToPath(new URL("dist/page", import.meta.url)),
    emptyOutDir: true,
    // The first versions with light-dark(), which the page uses for its colors.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // All of Mantine is in one file, which the page loads from this machine.
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      // The modules of Mantine begin with "use client", which only a server would need.
      onwarn: (warning, warn) => warning.code === "MODULE_LEVEL_DIRECTIVE" || warn(warning),
    },
  },
});
