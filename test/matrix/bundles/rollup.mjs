import commonjs from "@rollup/plugin-commonjs";
import json from "@rollup/plugin-json";
import resolve from "@rollup/plugin-node-resolve";
import { rollup } from "rollup";

const [format, folder] = process.argv.slice(2);
// undici requires node:sqlite when its cache is used. Rollup would import it at once, and Node.js 20 does not have it.
const bundle = await rollup({
  input: "app.mjs",
  external: ["libsql", "pg-native"],
  plugins: [resolve({ preferBuiltins: true }), commonjs({ ignore: ["node:sqlite"] }), json()],
  onwarn: () => undefined,
});
await bundle.write({ dir: folder, format, entryFileNames: format === "esm" ? "app.mjs" : "app.cjs" });
