import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Consumer, packTarball } from "./consumer.ts";
import { NPM } from "./package-managers.ts";
import { lowestPeers, newestPeers } from "./peers.ts";
import { ResultTable } from "./result-table.ts";

const MAJOR = Number(process.versions.node.split(".")[0]);

/** Each Kysely with the lowest TypeScript that its types support and React 18, and the newest of everything. */
const COMPILERS = [
  { typescript: "5.2", kysely: lowestPeers().kysely, nodeTypes: "20", reactTypes: "18" },
  { typescript: "5.4", kysely: "0.29", nodeTypes: "20", reactTypes: "18" },
  { typescript: "latest", kysely: "0.29", nodeTypes: "latest", reactTypes: "latest" },
];

const results = new ResultTable("TypeScript");
let folder: string;
let tarball: string;
let libsql: string | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-tarball-"));
  tarball = await packTarball(folder);
  libsql = (await newestPeers(MAJOR)).libsql;
});
afterAll(async () => {
  results.print();
  await rm(folder, { recursive: true, force: true });
});

describe.each(COMPILERS)(
  "TypeScript $typescript with Kysely $kysely",
  ({ typescript, kysely, nodeTypes, reactTypes }) => {
    let consumer: Consumer;
    beforeAll(async () => {
      const dependencies = [
        `libsql@${libsql}`,
        `kysely@${kysely}`,
        `typescript@${typescript}`,
        `@types/node@${nodeTypes}`,
        `@types/react@${reactTypes}`,
      ];
      consumer = await Consumer.install(NPM, MAJOR, [tarball, ...dependencies], "types");
    });
    afterAll(() => consumer?.remove());

    test.each([
      ["nodenext", "nodenext"],
      ["esnext", "bundler"],
    ])("compiles an app with module %s and moduleResolution %s", async (module, moduleResolution) => {
      await results.record(typescript, moduleResolution, async () => {
        const options = ["--module", module, "--moduleResolution", moduleResolution];
        for (const project of ["tsconfig.json", "tsconfig.page.json"])
          expect(await consumer.exec(["tsc", "-p", project, ...options])).toBe("");
        return consumer.versionOf("typescript");
      });
    });
  },
);
