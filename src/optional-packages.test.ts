import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { exportsOf, loadingFailure } from "./optional-packages.ts";

const PACKAGE = { name: "driver", neededBy: "The storage" };

/** Returns the real error of loading `driver` from a folder with these files in node_modules. */
async function failureOf(files: Readonly<Record<string, string>>, how: "import" | "require") {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-packages-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, "node_modules", name, ".."), { recursive: true });
    await writeFile(join(folder, "node_modules", name), text);
  }
  // A CommonJS file, because Vitest replaces import() in ES modules with its own.
  const program = join(folder, "load.cjs");
  await writeFile(
    program,
    'exports.import = async () => import("driver"); exports.require = async () => require("driver");',
  );
  const loaders = createRequire(program)(program) as Record<typeof how, () => Promise<unknown>>;
  return loaders[how]().then(
    () => {
      throw new Error("The package could be loaded.");
    },
    (error: unknown) => error,
  );
}

const MAIN = { "driver/package.json": '{"name":"driver","main":"main.js"}' };

test.each(["import", "require"] as const)(
  "returns how to install a package that %s does not find",
  async (how) => {
    const cause = await failureOf({}, how);
    expect(loadingFailure(PACKAGE, cause)).toBe(
      "The storage needs the package driver, which is not installed. Run: npm install driver",
    );
    const install = "npm install --save-dev driver";
    expect(loadingFailure({ ...PACKAGE, install }, cause)).toMatch(/Run: npm install --save-dev driver$/);
  },
);

test.each<[what: string, files: Record<string, string>, reason: RegExp]>([
  [
    "a dependency of the package is missing",
    { "driver/main.js": 'require("driver-types")' },
    /Cannot find module 'driver-types'/,
  ],
  ["the package's own file is missing", {}, /Cannot find (package|module) '.*driver/],
  ["the package throws", { "driver/main.js": 'throw new Error("no CPU for this")' }, /no CPU for this/],
  [
    "the package throws something else than an error",
    { "driver/main.js": 'throw "a string"' },
    /: a string\./,
  ],
])("returns the cause, and no advice to install the package, when %s", async (_what, files, reason) => {
  for (const how of ["import", "require"] as const) {
    const message = loadingFailure(PACKAGE, await failureOf({ ...MAIN, ...files }, how));
    expect(message).toMatch(/^The storage could not load the package driver: /);
    expect(message).toMatch(reason);
    expect(message).not.toMatch(/npm install|not installed/);
    expect(message).toMatch(/keep driver external/);
  }
});

test("returns the option of the bundler if require() does not exist", async () => {
  const dynamic = { "driver/main.js": `throw Error('Dynamic require of "events" is not supported')` };
  const message = loadingFailure(PACKAGE, await failureOf({ ...MAIN, ...dynamic }, "import"));
  expect(message).toMatch(
    /^The storage could not load the package driver: Dynamic require of "events" is not supported\. A bundler/,
  );
  expect(message).toMatch(/const require = bannerRequire\(import\.meta\.url\);/);
});

test("returns the exports of a package by name, also if a bundler provides only default", () => {
  const exports = { Client: class {} };
  expect(exportsOf({ ...exports })).toEqual(exports);
  expect(exportsOf({ ...exports, default: exports })).toBe(exports);
  expect(exportsOf({ default: exports } as never)).toBe(exports);
});
