import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { limitsSchema } from "../../src/access/rate-limits.ts";
import { parseOptions } from "../../src/options.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { VIEW_OPTION_NAMES } from "../../src/view/view-options.ts";

const root = resolve(import.meta.dirname, "../..");
const src = join(root, "src");

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter(
  (file) => file.endsWith(".ts") && !file.endsWith(".test.ts"),
);

const imports: Import[] = files.flatMap((file) => {
  const text = readFileSync(join(src, file), "utf8");
  const found = text.matchAll(/^(?:import|export)\s+(type\s)?([^;]*?)\sfrom\s+"(\.[^"]+)";/gms);
  return [...found].map(([, type, names, target]) => ({
    from: file,
    to: relative(src, resolve(src, dirname(file), target ?? "")),
    typeOnly: type !== undefined || isAllTypes(names ?? ""),
  }));
});

/** `{ type A, type B }` imports nothing at run time either. */
function isAllTypes(names: string): boolean {
  const listed = /^\{([\s\S]*)\}$/
    .exec(names.trim())?.[1]
    ?.split(",")
    .map((name) => name.trim())
    .filter(Boolean);
  return listed?.every((name) => name.startsWith("type ")) ?? false;
}

const room = (file: string) => (file.includes("/") ? file.slice(0, file.indexOf("/")) : file);

/** Rooms by height: a file may import from its own room and from lower ones; along a row, types only. */
const ROWS = [
  ["adapters", "admin", "cli", "testing"],
  ["index.ts", "provisioning.ts", "telemetry.ts"],
  ["sallyport.ts"],
  ["config.ts"],
  ["lifecycle"],
  ["view", "access", "delivery", "provisioning"],
  ["sessions", "gateways"],
  ["storage"],
  [
    "protocol",
    "errors.ts",
    "closest-match.ts",
    "within.ts",
    "optional-packages.ts",
    "options.ts",
    "format-value.ts",
    "printable.ts",
    "elapsed.ts",
    "error-output.ts",
    "reported-promise.ts",
    "error-reporter.ts",
  ],
];
const height = (file: string) => ROWS.length - ROWS.findIndex((row) => row.includes(room(file)));

/** A way from a file back to one on that way, or undefined. */
function cycleOf(file: string, among: readonly Import[], path: readonly string[] = []): string[] | undefined {
  if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
  for (const { to } of among.filter(({ from }) => from === file)) {
    const cycle = cycleOf(to, among, [...path, file]);
    if (cycle) return cycle;
  }
  return undefined;
}

describe("the house", () => {
  test("every file stands in a room that the map knows", () => {
    const rooms = new Set([...ROWS.flat(), "local", "client"]);
    expect(files.filter((file) => !rooms.has(room(file)))).toEqual([]);
  });

  test("imports go downwards; along a row types only", () => {
    const wrong = imports.filter(({ from, to, typeOnly }) => {
      if (room(from) === room(to) || ["local", "client"].includes(room(from))) return false;
      const atTheBottom = height(to) === 1;
      if (height(to) === height(from)) return !typeOnly && !atTheBottom;
      return height(to) > height(from);
    });
    expect(wrong).toEqual([]);
  });

  test("local/ and client/ know the protocol and nothing else of ours, but for how local/ reads its options", () => {
    const known: Readonly<Record<string, readonly string[]>> = {
      local: ["local", "protocol", "errors.ts", "options.ts", "format-value.ts"],
      client: ["client", "protocol", "errors.ts"],
    };
    const wrong = imports.filter(({ from, to }) => known[room(from)]?.includes(room(to)) === false);
    expect(wrong).toEqual([]);
  });

  test("adapters, console and command line come in by the front door", () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        ["adapters", "admin", "cli"].includes(room(from)) &&
        ![
          room(from),
          "sallyport.ts",
          "index.ts",
          "provisioning.ts",
          "errors.ts",
          "closest-match.ts",
          "within.ts",
          "optional-packages.ts",
          "options.ts",
          "format-value.ts",
          "printable.ts",
          "error-output.ts",
          "error-reporter.ts",
          "protocol",
        ].includes(room(to)),
    );
    expect(wrong).toEqual([]);
  });

  test("every error class writes its name out, because bundlers shorten the names of classes", () => {
    const declared = files.flatMap((file) => [
      ...readFileSync(join(src, file), "utf8").matchAll(
        /^export (?:abstract )?class (\w+) extends \w*Error \{([\s\S]*?)\n\}/gm,
      ),
    ]);
    expect(declared.length).toBeGreaterThan(6);
    const unnamed = declared.filter(
      ([, name, body]) =>
        !new RegExp(`^  override readonly name(?:: string)? = "${name}";`, "m").test(body ?? ""),
    );
    expect(unnamed.map(([, name]) => name)).toEqual([]);
  });

  test("only the storages and the test helpers load Kysely, which is most of what the core would load", () => {
    const loading = files.filter((file) => {
      const text = readFileSync(join(src, file), "utf8");
      const found = text.matchAll(/^(?:import|export)\s+(type\s)?([^;]*?)\sfrom\s+"kysely";/gms);
      return [...found].some(([, type, names]) => type === undefined && !isAllTypes(names ?? ""));
    });
    expect(loading.filter((file) => !["storage", "testing"].includes(room(file)))).toEqual([]);
    const core = ["storage/database.ts", "storage/prepared.ts"];
    expect(loading.filter((file) => core.includes(file))).toEqual([]);
  });

  test("no cycles of what runs", () => {
    const runs = imports.filter(({ typeOnly }) => !typeOnly);
    for (const file of files) expect(cycleOf(file, runs), file).toBeUndefined();
  });

  test("no cycles in local/, of types neither", () => {
    const own = imports.filter(({ from }) => room(from) === "local");
    for (const { from } of own) expect(cycleOf(from, own), from).toBeUndefined();
  });

  test("no default exports, and no drawers without a name", () => {
    const defaults = files.filter((file) => /^export default/m.test(readFileSync(join(src, file), "utf8")));
    expect(defaults).toEqual([]);
    expect(files.filter((file) => /(^|\/)(utils|helpers|types|common)(\.ts|\/)/.test(file))).toEqual([]);
  });
});

/** The names that a message about an unknown option lists. */
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
  // A file of an earlier build stays in dist, so that its importers still compile here, and nowhere else.
  const importers = ["bench/src", "test"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => join(root, folder, file)),
  );
  const lost = importers.flatMap((file) =>
    [...readFileSync(file, "utf8").matchAll(/from "(\.[^"]*\/dist\/[^"]+)\.js"/g)]
      .map(([, target]) => resolve(dirname(file), target ?? ""))
      .filter((built) => built.startsWith(join(root, "dist/")))
      .filter((built) => !existsSync(`${join(src, relative(join(root, "dist"), built))}.ts`))
      .map((built) => `${relative(root, file)} imports ${relative(root, built)}.js`),
  );
  expect(lost).toEqual([]);
});

describe("two lists of one truth agree", () => {
  test("error codes and docs/errors.md", () => {
    const declared =
      readFileSync(join(src, "errors.ts"), "utf8").match(/^ {2}\| "(SALLYPORT_[A-Z_]+)"/gm) ?? [];
    const codes = declared.map((line) => /SALLYPORT_[A-Z_]+/.exec(line)?.[0]);
    const headings = readFileSync(join(root, "docs/errors.md"), "utf8").match(
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

  test("limits and docs/lifecycle.md", () => {
    const page = readFileSync(join(root, "docs/lifecycle.md"), "utf8");
    const told = [...page.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, name, value]) => [
      name,
      Number(value),
    ]);
    expect(Object.fromEntries(told)).toEqual(parseOptions("limits", limitsSchema, {}));
  });

  test("options and docs/options.md", () => {
    const page = readFileSync(join(root, "docs/options.md"), "utf8");
    const documented = (heading: string) => {
      const [, part = ""] = page.split(`\n${heading}\n`);
      const [table = ""] = part.split(/\n#/);
      return [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name).sort();
    };
    const nested = (name: string) => knownOptions(() => createSallyport({ [name]: { q: 1 } } as never));
    expect(documented("## `createSallyport()`")).toEqual(
      knownOptions(() => createSallyport({ q: 1 } as never)),
    );
    for (const name of ["token", "apiGateway", "decisionLog"])
      expect(documented(`### \`${name}\``), name).toEqual(nested(name));
    expect(documented("## Views")).toEqual([...VIEW_OPTION_NAMES].sort());
  });

  test("the stories of the lifecycle and docs/lifecycle.md", () => {
    const page = readFileSync(join(root, "docs/lifecycle.md"), "utf8");
    const stories = [
      "issue-token",
      "connect",
      "message",
      "join-channel",
      "deliver",
      "disconnect",
      "evict",
      "change-rights",
    ];
    for (const story of stories) {
      expect(files).toContain(`lifecycle/${story}.ts`);
      expect(page).toContain(`${story}.ts`);
    }
  });
});
