import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { build } from "rolldown";
import { build as buildPage } from "vite";

// `npm start`: builds the package and the demo without checking their types, and starts it.
const CHAT = "examples/chat/src";

function bundlePackage() {
  execFileSync(process.execPath, ["bundle.js", "--sources"], { stdio: "inherit" });
}

async function buildChat() {
  const files = readdirSync(CHAT, { recursive: true }).filter((name) => name.endsWith(".ts"));
  await build({
    input: Object.fromEntries(files.map((name) => [name.replace(/\.ts$/, ""), join(CHAT, name)])),
    output: { dir: "examples/chat/dist", preserveModules: true, preserveModulesRoot: CHAT },
    external: /^[^./]/,
    checks: { pluginTimings: false },
  });
}

for (const [name, step] of [
  ["Building the package", bundlePackage],
  ["Building the server", buildChat],
  ["Building the page", () => buildPage({ configFile: "examples/chat/vite.config.ts", logLevel: "warn" })],
]) {
  const since = performance.now();
  process.stdout.write(`${name} … `);
  await step();
  console.log(`${((performance.now() - since) / 1000).toFixed(1)} s`);
}
console.log("Starting the demo …");
await import("./examples/chat/dist/main.js");
