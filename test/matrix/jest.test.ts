import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Consumer, packTarball } from "./consumer.ts";
import { NPM, PACKAGE_MANAGERS } from "./package-managers.ts";
import { lowestPeers } from "./peers.ts";

let folder: string;
let tarball: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-tarball-"));
  tarball = await packTarball(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What docs/guides/testing.md tells users of Jest to install and to configure. */
async function documented() {
  const page = await readFile(resolve(import.meta.dirname, "../../docs/guides/testing.md"), "utf8");
  const section = page.slice(page.indexOf("## Jest"));
  const packages = /npm install --save-dev (.*)/.exec(section)?.[1]?.split(" ") ?? [];
  const config = /```js\n(\/\/ jest\.config\.js\n[\s\S]*?)```/.exec(section)?.[1] ?? "";
  expect([packages[0], config.length > 0]).toEqual(["jest", true]);
  return { packages, config };
}

const pnpm = PACKAGE_MANAGERS.find(({ name }) => name === "pnpm 10") ?? NPM;

test.each([
  { manager: NPM, node: 20 },
  { manager: NPM, node: 24 },
  { manager: pnpm, node: 22 },
])(
  "Jest in a CommonJS app loads the package, installed by $manager.name on Node $node",
  async ({ manager, node }) => {
    const { packages, config } = await documented();
    const peers = lowestPeers();
    const dependencies = [tarball, `kysely@${peers.kysely}`, `libsql@${peers.libsql}`, ...packages];
    const consumer = await Consumer.install(manager, node, dependencies, "jest");
    try {
      await writeFile(join(consumer.folder, "jest.config.js"), config);
      await consumer.exec(["jest", "--ci", "--json", "--outputFile=results.json"]);
      const results = JSON.parse(await readFile(join(consumer.folder, "results.json"), "utf8")) as object;
      expect(results).toMatchObject({ success: true, numPassedTests: 10 });
    } finally {
      await consumer.remove();
    }
  },
);
