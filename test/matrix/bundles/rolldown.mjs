import { rolldown } from "rolldown";

const [format, folder] = process.argv.slice(2);
const bundle = await rolldown({ input: "app.mjs", platform: "node", external: ["libsql", "pg-native"] });
await bundle.write({
  dir: folder,
  format,
  minify: true,
  entryFileNames: format === "esm" ? "app.mjs" : "app.cjs",
  chunkFileNames: format === "esm" ? "[name]-[hash].mjs" : "[name]-[hash].cjs",
});
