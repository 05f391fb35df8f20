import { existsSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
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

test("keeps the compiled code of an app in node_modules, and compiles a changed file again", async () => {
  await mkdir(join(folder, "node_modules"));
  await mkdir(join(folder, "src"));
  expect(await importedValue("src/app.ts", "first")).toBe("first");
  expect(readdirSync(join(folder, "node_modules/.cache/sallyport"))).toHaveLength(1);
  expect(await importedValue("src/app.ts", "second")).toBe("second");
});

test("writes no compiled code if there is no node_modules folder", async () => {
  const before = readdirSync(tmpdir());
  expect(await importedValue("app.ts", "first")).toBe("first");
  expect(existsSync(join(folder, "node_modules"))).toBe(false);
  expect(readdirSync(tmpdir()).filter((name) => name === "jiti" && !before.includes(name))).toEqual([]);
});
