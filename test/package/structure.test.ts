import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const src = join(root, "src");

interface Import {
  readonly from: string;
  readonly to: string;
  readonly isTypeOnly: boolean;
}

const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter(
  (file) => /\.tsx?$/.test(file) && !file.endsWith(".test.ts"),
);
const texts = new Map(files.map((file) => [file, readFileSync(join(src, file), "utf8")]));

const imports: Import[] = files.flatMap((file) => {
  const found = (texts.get(file) ?? "").matchAll(
    /^(?:import|export)\s+(type\s)?([^;]*?)\sfrom\s+"(\.[^"]+)";/gms,
  );
  return [...found].map(([, type, names, target]) => ({
    from: file,
    to: relative(src, resolve(src, dirname(file), target ?? "")),
    isTypeOnly: type !== undefined || isAllTypes(names ?? ""),
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

/** The folder of a file, or the file itself where it is in no folder. */
const folderOf = (file: string) => (file.includes("/") ? file.slice(0, file.indexOf("/")) : file);

/** From the highest layer to the lowest. A file imports from its own layer and from lower ones. */
const LAYERS = [
  ["adapters", "cdk", "cli", "testing", "index.ts", "aws.ts", "telemetry.ts"],
  ["sallyport.ts", "create-services.ts"],
  ["http"],
  ["config.ts"],
  ["events", "admin", "aws"],
  ["sending", "revocation"],
  ["auth", "permissions", "views", "delivery", "audit"],
  ["connections"],
  ["storage"],
  ["protocol", ...files.filter((file) => !file.includes("/"))],
];
const layerOf = (file: string) => LAYERS.findIndex((layer) => layer.includes(folderOf(file)));

/** Declares types of all layers, and contains no code. */
const SERVICES = "services.ts";

/** The entry point of the local gateway, whose types the command line uses. */
const LOCAL_ENTRY = "local/emulator.ts";

/** Folders that are used without the rest of the package. */
const STANDALONE: Readonly<Record<string, readonly string[]>> = {
  local: ["local", "protocol", "errors.ts", "options.ts", "format-value.ts", "timing.ts"],
  client: ["client", "protocol", "errors.ts"],
  react: ["react", "client"],
  "inspector-page": ["inspector-page", "local"],
};

/** Returns the files of a cycle that leads from a file back to a file on the path, or undefined. */
function findCycle(
  file: string,
  among: readonly Import[],
  path: readonly string[] = [],
): string[] | undefined {
  if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
  for (const { to } of among.filter(({ from }) => from === file)) {
    const cycle = findCycle(to, among, [...path, file]);
    if (cycle) return cycle;
  }
  return undefined;
}

describe("imports", () => {
  test("every folder belongs to a layer", () => {
    const known = new Set([...LAYERS.flat(), ...Object.keys(STANDALONE)]);
    expect(files.filter((file) => !known.has(folderOf(file)))).toEqual([]);
  });

  test("a file imports from its own layer and from lower ones", () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        !Object.hasOwn(STANDALONE, folderOf(from)) &&
        ![from, to].includes(SERVICES) &&
        to !== LOCAL_ENTRY &&
        layerOf(to) < layerOf(from),
    );
    expect(wrong).toEqual([]);
  });

  test("local/ and client/ import the protocol and what validates their options", () => {
    const wrong = imports.filter(
      ({ from, to }) => STANDALONE[folderOf(from)]?.includes(folderOf(to)) === false,
    );
    expect(wrong).toEqual([]);
  });

  test("adapters and the command line use the public object", () => {
    const top = LAYERS.at(-1) ?? [];
    const wrong = imports.filter(
      ({ from, to }) =>
        ["adapters", "cli"].includes(folderOf(from)) &&
        ![folderOf(from), "sallyport.ts", "index.ts", "aws.ts", ...top].includes(folderOf(to)) &&
        !["aws/provisioning.ts", LOCAL_ENTRY].includes(to),
    );
    expect(wrong).toEqual([]);
  });

  test("the page of the inspector imports the messages of local/ only", () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        folderOf(from) !== folderOf(to) &&
        (folderOf(to) === "inspector-page" ||
          (folderOf(from) === "inspector-page" && to !== "local/inspector/messages.ts")),
    );
    expect(wrong).toEqual([]);
  });

  test("cdk/ imports aws/ and what validates its options", () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        folderOf(from) === "cdk" && !["cdk", "aws", "protocol", "options.ts"].includes(folderOf(to)),
    );
    expect(wrong).toEqual([]);
  });

  test("only cdk/ imports aws-cdk-lib and constructs", () => {
    const importing = files.filter((file) =>
      /from "(?:aws-cdk-lib|constructs)["/]/.test(texts.get(file) ?? ""),
    );
    expect(importing.filter((file) => folderOf(file) !== "cdk")).toEqual([]);
  });

  test("only storage/ imports Kysely, and only it and the test helpers import its SQL", () => {
    const kysely = files.filter((file) => /from "kysely(?:\/[^"]*)?"/.test(texts.get(file) ?? ""));
    expect(kysely.filter((file) => folderOf(file) !== "storage")).toEqual([]);
    const sql = imports.filter(({ to }) => /^storage\/(sql\/|database\.ts|prepared\.ts)/.test(to));
    expect(sql.filter(({ from }) => !["storage", "testing"].includes(folderOf(from)))).toEqual([]);
  });

  test("no imports at run time form a cycle", () => {
    const runs = imports.filter(({ isTypeOnly }) => !isTypeOnly);
    for (const file of files) expect(findCycle(file, runs), file).toBeUndefined();
  });

  test("no imports in local/ form a cycle, imports of types included", () => {
    const own = imports.filter(({ from }) => folderOf(from) === "local");
    for (const { from } of own) expect(findCycle(from, own), from).toBeUndefined();
  });

  test("only the storages load Kysely at run time", () => {
    const loading = files.filter((file) => {
      const found = (texts.get(file) ?? "").matchAll(
        /^(?:import|export)\s+(type\s)?([^;]*?)\sfrom\s+"kysely(?:\/[^"]*)?";/gms,
      );
      return [...found].some(([, type, names]) => type === undefined && !isAllTypes(names ?? ""));
    });
    expect(loading.filter((file) => folderOf(file) !== "storage")).toEqual([]);
    const core = ["storage/database.ts", "storage/prepared.ts"];
    expect(loading.filter((file) => core.includes(file))).toEqual([]);
  });
});

/** Files of more than 400 lines, and why one file is better than two. */
const LONG_FILES: Readonly<Record<string, string>> = {
  "client/socket.ts": "one state machine, whose states share private fields",
  "delivery/delivery.ts": "one state machine, whose retries and queues share private fields",
  "storage/postgres.ts": "one implementation of the interface Database",
};

/** Functions of more than 80 lines, and why. */
const LONG_FUNCTIONS: Readonly<Record<string, string>> = {
  "storage/sql/open-connection.ts:#buildOpen": "one SQL statement",
  "storage/migrations.ts:createConnections": "the columns of six tables",
};

const lengths = new Map([...texts].map(([file, text]) => [file, text.split("\n").length - 1]));

/** Each function with a body, as `file:name`, with its number of lines. */
const functions: readonly { readonly name: string; readonly lines: number }[] = [...texts].flatMap(
  ([file, text]) => {
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
    const found: { name: string; lines: number }[] = [];
    const visit = (node: ts.Node) => {
      if (isFunction(node) && node.body) {
        const line = (position: number) => source.getLineAndCharacterOfPosition(position).line;
        const lines = line(node.end) - line(node.getStart(source)) + 1;
        found.push({ name: `${file}:${nameOf(node, source)}`, lines });
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
    return found;
  },
);

type WithBody = ts.FunctionDeclaration | ts.MethodDeclaration | ts.ConstructorDeclaration | ts.ArrowFunction;

function isFunction(node: ts.Node): node is WithBody {
  return (
    ts.isFunctionDeclaration(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isConstructorDeclaration(node) ||
    ts.isArrowFunction(node)
  );
}

function nameOf(node: WithBody, source: ts.SourceFile): string {
  if (ts.isConstructorDeclaration(node)) return "constructor";
  const { name } = ts.isArrowFunction(node) && ts.isVariableDeclaration(node.parent) ? node.parent : node;
  return name?.getText(source) ?? "anonymous";
}

function shareUpTo(lengths: readonly number[], most: number): number {
  return lengths.filter((lines) => lines <= most).length / lengths.length;
}

describe("sizes", () => {
  test("nine in ten files have at most 350 lines", () => {
    expect(shareUpTo([...lengths.values()], 350)).toBeGreaterThanOrEqual(0.9);
  });

  test("files of more than 400 lines are listed with a reason", () => {
    const long = [...lengths].filter(([, lines]) => lines > 400).map(([file]) => file);
    expect(long.sort()).toEqual(Object.keys(LONG_FILES).sort());
  });

  test("nine in ten functions have at most 40 lines", () => {
    expect(
      shareUpTo(
        functions.map(({ lines }) => lines),
        40,
      ),
    ).toBeGreaterThanOrEqual(0.9);
  });

  test("functions of more than 80 lines are listed with a reason", () => {
    const long = functions.filter(({ lines }) => lines > 80).map(({ name }) => name);
    expect(long.sort()).toEqual(Object.keys(LONG_FUNCTIONS).sort());
  });
});

describe("conventions", () => {
  test("every error class has a literal name, because bundlers shorten the names of classes", () => {
    const declared = [...texts.values()].flatMap((text) => [
      ...text.matchAll(/^export (?:abstract )?class (\w+) extends \w*Error \{([\s\S]*?)\n\}/gm),
    ]);
    expect(declared.length).toBeGreaterThan(6);
    const unnamed = declared.filter(
      ([, name, body]) =>
        !new RegExp(`^  override readonly name(?:: string)? = "${name}";`, "m").test(body ?? ""),
    );
    expect(unnamed.map(([, name]) => name)).toEqual([]);
  });

  test("no file has a default export, and no file collects unrelated code", () => {
    const defaults = files.filter((file) => /^export default/m.test(texts.get(file) ?? ""));
    expect(defaults).toEqual([]);
    expect(files.filter((file) => /(^|\/)(utils|helpers|types|common)(\.ts|\/)/.test(file))).toEqual([]);
  });
});
