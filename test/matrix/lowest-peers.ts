import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Plugin } from "vitest/config";
import { run } from "./commands.ts";
import { lowestPeers, peerNames } from "./peers.ts";

const folder = resolve(import.meta.dirname, "../../node_modules/.cache/sallyport-lowest-peers");

const source = resolve(import.meta.dirname, "../../src");

/** Installs the lowest version of each peer beside those that the lock file chooses. */
export async function setup(): Promise<void> {
  await mkdir(folder, { recursive: true });
  const description = { private: true, dependencies: lowestPeers() };
  await writeFile(join(folder, "package.json"), JSON.stringify(description));
  await run(["npm", "install", "--prefer-offline", "--no-audit", "--no-fund"], { cwd: folder });
}

/** Makes the source import the lowest versions. The tests' own servers and exporters keep the versions of the lock file. */
export function importLowestPeers(): Plugin {
  const names = new Set(peerNames());
  return {
    name: "import-lowest-peers",
    enforce: "pre",
    async resolveId(name, importer) {
      if (!names.has(name) || !importer?.startsWith(source)) return;
      // Vite looks for packages beside an importer that exists, otherwise beside the configuration.
      const found = await this.resolve(name, join(folder, "package.json"), { skipSelf: true });
      if (!found?.id.startsWith(folder)) throw new Error(`The lowest version of ${name} is not installed.`);
      return found;
    },
  };
}
