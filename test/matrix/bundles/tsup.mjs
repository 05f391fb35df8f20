import { build } from "tsup";

const [format, folder] = process.argv.slice(2);
await build({
  config: false,
  entry: { app: "app.mjs" },
  outDir: folder,
  format: [format],
  platform: "node",
  minify: true,
  noExternal: [/^(?!libsql|pg-native)/],
  external: ["libsql", "pg-native"],
  outExtension: () => ({ js: format === "esm" ? ".mjs" : ".cjs" }),
  banner: {
    js:
      format === "esm"
        ? 'import { createRequire as bannerRequire } from "node:module"; const require = bannerRequire(import.meta.url);'
        : "",
  },
  silent: true,
});
