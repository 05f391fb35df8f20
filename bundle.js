import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { build } from "rolldown";
import { dts } from "rolldown-plugin-dts";

// Bundles the compiled files in build/ into one file per entry point, with shared chunks.
const { dependencies, exports, peerDependencies } = JSON.parse(readFileSync("package.json", "utf8"));

/** Entry points by their path in dist/, without the extension. */
const names = Object.values(exports)
  .map((file) => /^\.\/dist\/(.*)\.js$/.exec(file)?.[1])
  .filter((name) => name !== undefined);
const CLIENT = "client/socket";
const inputs = (extension, ...names) =>
  Object.fromEntries(names.map((name) => [name, `build/${name}${extension}`]));

const packages = [...Object.keys(dependencies), ...Object.keys(peerDependencies)];
const external = [/^node:/, ...packages.map((name) => new RegExp(`^${name}(/|$)`))];

const output = {
  dir: "dist",
  entryFileNames: "[name].js",
  chunkFileNames: "chunks/[name]-[hash].js",
  // TypeScript prints these export names in its error messages.
  minifyInternalExports: false,
};
const node = names.filter((name) => name !== CLIENT);

const common = { external, checks: { pluginTimings: false } };

const bundles = [
  {
    input: inputs(".js", ...node, "cli/main", "cli/dev/lambda-runner"),
    platform: "node",
    ...common,
    output,
  },
  // The client is one file, because a page can load it without a bundler.
  { input: inputs(".js", CLIENT), platform: "browser", ...common, output },
  {
    input: inputs(".d.ts", ...node, CLIENT),
    platform: "node",
    ...common,
    plugins: [dts({ dtsInput: true })],
    output: { ...output, entryFileNames: "[name].ts", chunkFileNames: "chunks/[name]-[hash].d.ts" },
  },
];

const written = new Set();
for (const bundle of bundles) {
  const { output: files } = await build(bundle);
  for (const { fileName } of files) written.add(join("dist", fileName));
}
// Outdated files are deleted last, so that a process that runs during a build finds its files.
for (const name of readdirSync("dist", { recursive: true })) {
  const file = join("dist", name);
  if (statSync(file).isFile() && !written.has(file)) rmSync(file);
}
