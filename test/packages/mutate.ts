/** `npm run mutate`: installs Stryker from test/packages/stryker, and runs it. */
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { installPackages } from "./install.ts";

const folder = await installPackages("stryker");
const stryker = join(folder, "node_modules/@stryker-mutator/core/bin/stryker.js");
const { status } = spawnSync(process.execPath, [stryker, "run", ...process.argv.slice(2)], {
  cwd: resolve(import.meta.dirname, "../.."),
  stdio: "inherit",
});
process.exitCode = status ?? 1;
