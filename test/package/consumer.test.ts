import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Consumer, EXPECTED, packTarball } from "../matrix/consumer.ts";
import { NPM } from "../matrix/package-managers.ts";

const root = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const MAJOR = Number(process.versions.node.split(".")[0]);

let folder: string;
let tarball: string;
beforeAll(async () => {
  await run("npm", ["run", "build"], { cwd: root });
  folder = await mkdtemp(join(tmpdir(), "sallyport-tarball-"));
  tarball = await packTarball(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

// `npm run test:matrix` does the same with other package managers, Nodes and versions of the peers.
test("an app that installed the package with npm migrates, connects, calls, sends and revokes", async () => {
  const consumer = await Consumer.install(NPM, MAJOR, [tarball, "libsql", "ws"]);
  try {
    expect(await consumer.exec(["sallyport", "migrate"])).toContain("migrated: 0001_baseline");
    expect(await consumer.exec(["sallyport", "permissions", "list", "--app", "app.ts"])).toContain(
      "chat.can_use_chat",
    );
    expect(JSON.parse(await consumer.node("main.js"))).toEqual(EXPECTED);
  } finally {
    await consumer.remove();
  }
});

test("an app compiles without the optional peers", async () => {
  const consumer = await Consumer.install(NPM, MAJOR, [tarball, "@types/node@20"], "types");
  try {
    const compiled = await run(process.execPath, [tsc, "-p", "."], { cwd: consumer.folder }).then(
      () => "",
      ({ stdout }: { stdout: string }) => stdout,
    );
    expect(compiled).toBe("");
  } finally {
    await consumer.remove();
  }
});

test("every package that the built files import is a dependency or a peer", async () => {
  const { dependencies, peerDependencies } = JSON.parse(
    await readFile(join(root, "package.json"), "utf8"),
  ) as {
    dependencies: object;
    peerDependencies: object;
  };
  // sallyport/react imports sallyport/client by its name, so that a page loads the client once.
  const declared = new Set(["sallyport", ...Object.keys(dependencies), ...Object.keys(peerDependencies)]);
  const undeclared: string[] = [];
  for (const file of await readdir(join(root, "dist"), { recursive: true })) {
    if (!/\.(js|d\.ts)$/.test(file)) continue;
    for (const name of packagesIn(await readFile(join(root, "dist", file), "utf8"))) {
      if (!declared.has(name)) undeclared.push(`${file}: ${name}`);
    }
  }
  expect(undeclared).toEqual([]);
});

/** @returns the packages that a module imports, without Node's own */
function packagesIn(text: string): string[] {
  const imports = text.matchAll(/(?:^(?:import|export)\b[^"';]*\sfrom\s|\bimport\()\s*"([^."][^"]*)"/gm);
  return [...imports]
    .map(([, specifier = ""]) => /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier)
    .filter((name) => !name.startsWith("node:"));
}
