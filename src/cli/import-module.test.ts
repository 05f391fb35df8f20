import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { importModule } from "./import-module.ts";

const { cache } = createRequire(import.meta.url);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-import-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Writes a TypeScript module that exports a value, and imports it as a new process does. */
async function importedValue(name: string, value: string): Promise<unknown> {
  const file = join(folder, name);
  await writeFile(file, `export const value: string = "${value}";`);
  delete cache[file];
  return (await importModule(file)).value;
}

async function cachedFiles(): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true });
  return entries.filter((path) => path.includes("node_modules/.cache/sallyport/"));
}

test("keeps the compiled code of an app in node_modules, and compiles a changed file again", async () => {
  await writeFile(join(folder, "package.json"), "{}");
  await mkdir(join(folder, "node_modules"));
  await mkdir(join(folder, "src"));
  expect(await importedValue("src/app.ts", "first")).toBe("first");
  expect(await cachedFiles()).toHaveLength(1);
  expect(await importedValue("src/app.ts", "second")).toBe("second");
});

test("keeps no compiled code in the node_modules folder above the project", async () => {
  await mkdir(join(folder, "node_modules"));
  await mkdir(join(folder, "app"));
  await writeFile(join(folder, "app/package.json"), "{}");
  expect(await importedValue("app/app.ts", "first")).toBe("first");
  expect(await cachedFiles()).toEqual([]);
});
