import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { build } from "rolldown";

// `npm start`: builds the package and the chat without checking their types, and starts the chat.
const CHAT = "examples/chat/src";

function bundlePackage() {
  execFileSync(process.execPath, ["bundle.js", "--sources"], { stdio: "inherit" });
}

async function buildChat() {
  const files = readdirSync(CHAT, { recursive: true }).filter((name) => name.endsWith(".ts"));
  await build({
    input: Object.fromEntries(files.map((name) => [name.replace(/\.ts$/, ""), join(CHAT, name)])),
    // The browser loads the modules of the page one by one.
    output: { dir: "examples/chat/dist", preserveModules: true, preserveModulesRoot: CHAT },
    external: /^[^./]/,
    checks: { pluginTimings: false },
  });
}

for (const [name, step] of [
  ["Building the package", bundlePackage],
  ["Building the chat", buildChat],
]) {
  const since = performance.now();
  process.stdout.write(`${name} … `);
  await step();
  console.log(`${((performance.now() - since) / 1000).toFixed(1)} s`);
}
console.log("Starting the chat …");
await import("./examples/chat/dist/main.js");
