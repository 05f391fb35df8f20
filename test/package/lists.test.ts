import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { limitsSchema } from "../../src/auth/limits.ts";
import { VERSIONS } from "../../src/cli/init/versions.ts";
import { parseOptions } from "../../src/options.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { VIEW_OPTION_NAMES } from "../../src/views/view-options.ts";
import mutationTests from "../../vitest.mutation.config.ts";

const root = resolve(import.meta.dirname, "../..");
const src = join(root, "src");

const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter(
  (file) => file.endsWith(".ts") && !file.endsWith(".test.ts"),
);

/** Expands `{a,b}` in a pattern. */
function withoutBraces(pattern: string): string[] {
  const [all, names] = /\{([^}]*)\}/.exec(pattern) ?? [];
  if (all === undefined || names === undefined) return [pattern];
  return names.split(",").flatMap((name) => withoutBraces(pattern.replace(all, name)));
}

/** Returns the names that the error about an unknown option lists. */
function knownOptions(call: () => unknown): string[] {
  try {
    call();
  } catch (error) {
    const [, names = ""] = /The options are: ([^.]*)\./.exec((error as Error).message) ?? [];
    return names.split(", ").sort();
  }
  return [];
}

test("benchmarks and tests import built files that have a source", () => {
  // A file of an earlier build stays in build/, so that its importers still compile here, and nowhere
  // else.
  const importers = ["bench/src", "test"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts") && !/node_modules/.test(file))
      .map((file) => join(root, folder, file)),
  );
  const lost = importers.flatMap((file) =>
    [...readFileSync(file, "utf8").matchAll(/from "(\.[^"]*\/build\/[^"]+)\.js"/g)]
      .map(([, target]) => resolve(dirname(file), target ?? ""))
      .filter((built) => built.startsWith(join(root, "build/")))
      .filter((built) => !existsSync(`${join(src, relative(join(root, "build"), built))}.ts`))
      .map((built) => `${relative(root, file)} imports ${relative(root, built)}.js`),
  );
  expect(lost).toEqual([]);
});

describe("lists that state the same facts agree", () => {
  test("error codes and docs/reference/errors.md", () => {
    const declared =
      readFileSync(join(src, "errors.ts"), "utf8").match(/^ {2}\| "(SALLYPORT_[A-Z_]+)"/gm) ?? [];
    const codes = declared.map((line) => /SALLYPORT_[A-Z_]+/.exec(line)?.[0]);
    const headings = readFileSync(join(root, "docs/reference/errors.md"), "utf8").match(
      /(?<=^## )SALLYPORT_[A-Z_]+$/gm,
    );
    expect(headings).toEqual(codes);
  });

  test("package.json's exports and the files behind them", () => {
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      exports: Record<string, string>;
    };
    for (const [subpath, target] of Object.entries(exports)) {
      if (subpath === "./package.json") continue;
      const source = target.replace("./dist/", "").replace(/\.js$/, ".ts");
      expect(files, subpath).toContain(source);
    }
  });

  test("the lowest versions of aws-cdk-lib and constructs, and those of test/packages/cdk-lowest", () => {
    const read = (file: string) => JSON.parse(readFileSync(join(root, file), "utf8"));
    const { peerDependencies } = read("package.json");
    const lowest = Object.fromEntries(
      ["aws-cdk-lib", "constructs"].map((name) => [name, peerDependencies[name]?.replace("^", "")]),
    );
    expect(read("test/packages/cdk-lowest/package.json").dependencies).toEqual(lowest);
  });

  test("the lowest version of React, and that of test/packages/react-lowest", () => {
    const read = (file: string) => JSON.parse(readFileSync(join(root, file), "utf8"));
    const { react } = read("test/packages/react-lowest/package.json").dependencies;
    expect(read("package.json").peerDependencies.react).toBe(`>=${react}`);
  });

  test("the versions of create-sallyport, of the templates and of sallyport init", () => {
    const read = (file: string) => JSON.parse(readFileSync(join(root, file), "utf8"));
    const { version } = read("package.json");
    const create = read("create-sallyport/package.json");
    expect([create.version, create.dependencies.sallyport]).toEqual([version, version]);
    const found = new Map<string, Set<string>>();
    const add = (versions: Readonly<Record<string, string>>) => {
      for (const [name, range] of Object.entries(versions)) {
        found.set(name, (found.get(name) ?? new Set()).add(range));
      }
    };
    add({ ...VERSIONS, sallyport: `^${version}` });
    for (const folder of readdirSync(join(root, "templates"))) {
      const file = `templates/${folder}/package.json`;
      if (!existsSync(join(root, file))) continue;
      const { dependencies, devDependencies } = read(file);
      add(dependencies);
      add(devDependencies);
    }
    // The template for Next.js uses TypeScript 5.
    found.delete("typescript");
    expect([...found].filter(([, ranges]) => ranges.size > 1)).toEqual([]);
  });

  test("the dependencies of the package and docs/project/licenses.md", () => {
    const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const page = readFileSync(join(root, "docs/project/licenses.md"), "utf8");
    const documented = [...page.matchAll(/^\| `([^`]+)` \| (\S+) \|/gm)];
    expect(documented.map(([, name]) => name)).toEqual(Object.keys(dependencies).sort());
    for (const [, name = "", license] of documented) {
      const installed = JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8"));
      expect([name, license]).toEqual([name, installed.license]);
    }
  });

  test("the peer dependencies of the package and docs/project/platforms.md", () => {
    const { peerDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const page = readFileSync(join(root, "docs/project/platforms.md"), "utf8");
    const documented = [...page.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name);
    expect(documented.sort()).toEqual(Object.keys(peerDependencies).sort());
  });

  test("the recipes, docs/guides/deployment.md and examples/deploy/README.md", () => {
    const folders = readdirSync(join(root, "examples/deploy"), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && existsSync(join(entry.parentPath, entry.name, "README.md")))
      .map(({ name }) => name)
      .sort();
    const [, part = ""] = readFileSync(join(root, "docs/guides/deployment.md"), "utf8").split(
      "\n## Recipes\n",
    );
    const [table = ""] = part.split(/\n#/);
    expect([...table.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name]) => name).sort()).toEqual(folders);
    const overview = readFileSync(join(root, "examples/deploy/README.md"), "utf8");
    expect([...overview.matchAll(/^\| \[([\w-]+)\]/gm)].map(([, name]) => name).sort()).toEqual(folders);
  });

  test("the properties of SallyportApi and docs/reference/cdk.md", () => {
    const documented = (heading: string) => {
      const [, part = ""] = readFileSync(join(root, "docs/reference/cdk.md"), "utf8").split(`\n${heading}\n`);
      const [table = ""] = part.split(/\n#/);
      return [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
    };
    const declared = (name: string) => {
      const source = readFileSync(join(src, "cdk/api-props.ts"), "utf8");
      const [, body = ""] = new RegExp(`export interface ${name} \\{([\\s\\S]*?)\\n\\}`).exec(source) ?? [];
      return [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, property]) => property);
    };
    expect(documented("## Properties")).toEqual(declared("SallyportApiProps"));
    expect(documented("### `domain`")).toEqual(declared("SallyportApiDomain"));
  });

  test("B36 limits and docs/reference/limits.md", () => {
    const page = readFileSync(join(root, "docs/reference/limits.md"), "utf8");
    const told = [...page.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, name, value]) => [
      name,
      Number(value),
    ]);
    expect(Object.fromEntries(told)).toEqual(parseOptions("limits", limitsSchema, {}));
  });

  test("B36 B58 options and docs/reference/options.md", () => {
    const documented = (heading: string, page = "options") => {
      const text = readFileSync(join(root, `docs/reference/${page}.md`), "utf8");
      const [, part = ""] = text.split(`${heading}\n`);
      const [table = ""] = part.split(/\n#/);
      return [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name).sort();
    };
    const nested = (name: string) => knownOptions(() => createSallyport({ [name]: { q: 1 } } as never));
    expect(documented("## `createSallyport()`")).toEqual(
      knownOptions(() => createSallyport({ q: 1 } as never)),
    );
    for (const name of ["token", "apiGateway", "decisionLog"])
      expect(documented(`### \`${name}\``), name).toEqual(nested(name));
    expect(documented("## Options", "views")).toEqual([...VIEW_OPTION_NAMES].sort());
  });

  test("the files of mutation testing and the files that exist", () => {
    const { mutate } = JSON.parse(readFileSync(join(root, "stryker.config.json"), "utf8")) as {
      mutate: readonly string[];
    };
    expect(mutate.filter((path) => !existsSync(join(root, path)))).toEqual([]);
    expect(mutate.length).toBe(new Set(mutate).size);
    const tests = mutationTests.test?.include?.flatMap(withoutBraces) ?? [];
    expect(tests.length).toBeGreaterThan(20);
    // Of a pattern, only the folder is checked.
    const places = tests.map((path) => path.replace(/\/[^/]*\*.*$/, ""));
    expect(places.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test("the files of the events and docs/explanation/lifecycle.md", () => {
    const page = readFileSync(join(root, "docs/explanation/lifecycle.md"), "utf8");
    const paths = [
      "events/token.ts",
      "events/connect.ts",
      "events/message.ts",
      "events/join.ts",
      "events/disconnect.ts",
      "sending/fan-out.ts",
      "revocation/worker.ts",
      "admin/change.ts",
    ];
    for (const path of paths) {
      expect(files).toContain(path);
      expect(page).toContain(`src/${path}`);
    }
  });
});
