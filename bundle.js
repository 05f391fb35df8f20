import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { build } from "rolldown";
import { bundleInspector } from "./bundle-inspector.js";

// Bundles the compiled files in build/ into one file per entry point, with shared chunks.
//
// With --sources, it bundles the TypeScript of src/ instead, without a check and without types.
// `npm start` uses this, because it takes a second.
const isFromSources = process.argv.includes("--sources");
const folder = isFromSources ? "src" : "build";
const script = isFromSources ? ".ts" : ".js";
const { dependencies, exports, peerDependencies } = JSON.parse(readFileSync("package.json", "utf8"));

/** Entry points by their path in dist/, without the extension. */
const names = Object.values(exports)
  .map((file) => /^\.\/dist\/(.*)\.js$/.exec(file)?.[1])
  .filter((name) => name !== undefined);
const CLIENT = "client/socket";
const REACT = "react/react";
const CLIENT_FILE = /client[/\\]socket\.[jt]s$/;
const inputs = (extension, ...names) =>
  Object.fromEntries(names.map((name) => [name, `${folder}/${name}${extension}`]));

const packages = [...Object.keys(dependencies), ...Object.keys(peerDependencies)];
const external = [/^node:/, ...packages.map((name) => new RegExp(`^${name}(/|$)`))];

const output = {
  dir: "dist",
  entryFileNames: "[name].js",
  chunkFileNames: "chunks/[name]-[hash].js",
  // TypeScript prints these export names in its error messages.
  minifyInternalExports: false,
};
const node = names.filter((name) => name !== CLIENT && name !== REACT);

const common = { external, checks: { pluginTimings: false } };

const scripts = [
  {
    input: inputs(script, ...node, "cli/main", "cli/dev/lambda-runner", "cli/dev/migrate-runner"),
    platform: "node",
    ...common,
    output,
  },
  // The client is one file, because a page can load it without a bundler.
  { input: inputs(script, CLIENT), platform: "browser", ...common, output },
  {
    input: inputs(script, REACT),
    platform: "browser",
    ...common,
    // A page that uses both contains the client once.
    plugins: [
      {
        name: "client",
        resolveId: (id) => (CLIENT_FILE.test(id) ? { id: "sallyport/client", external: true } : null),
      },
    ],
    output,
  },
];
const types = async () => ({
  input: inputs(".d.ts", ...node, CLIENT, REACT),
  platform: "node",
  ...common,
  plugins: [(await import("rolldown-plugin-dts")).dts({ dtsInput: true })],
  output: { ...output, entryFileNames: "[name].ts", chunkFileNames: "chunks/[name]-[hash].d.ts" },
});

const written = new Set();
for (const bundle of isFromSources ? scripts : [...scripts, await types()]) {
  const { output: files } = await build(bundle);
  for (const { fileName } of files) written.add(join("dist", fileName));
}
for (const file of await bundleInspector()) written.add(file);
if (isFromSources) process.exit();
// Outdated files are deleted last, so that a process that runs during a build finds its files.
for (const name of readdirSync("dist", { recursive: true })) {
  const file = join("dist", name);
  if (statSync(file).isFile() && !written.has(file)) rmSync(file);
}
