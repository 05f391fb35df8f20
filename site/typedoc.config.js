import { readFileSync } from "node:fs";

const { exports } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));

/** The source of each entry point of the package. */
const entryPoints = Object.values(exports)
  .filter((target) => target.endsWith(".js"))
  .map((target) => target.replace("./dist/", "../src/").replace(/\.js$/, ".ts"));

/** @type {Partial<import("typedoc").TypeDocOptions>} */
export default {
  plugin: ["typedoc-plugin-markdown", "./module-names.js"],
  entryPoints,
  tsconfig: "tsconfig.json",
  out: "../docs/reference/api",
  name: "API",
  readme: "none",
  entryFileName: "index",
  hidePageHeader: true,
  hideBreadcrumbs: true,
  disableSources: true,
  excludeExternals: true,
  excludePrivate: true,
  excludeInternal: true,
  skipErrorChecking: true,
  logLevel: "Error",
};
