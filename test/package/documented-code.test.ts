import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { expect, onTestFinished, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);

interface Block {
  /** The page and the line, such as `docs/guides/testing.md:5`. */
  readonly place: string;
  readonly language: string;
  readonly code: string;
  /** The heading above the block. */
  readonly section: string;
}

function blocksOf(page: string): readonly Block[] {
  const text = readFileSync(join(root, page), "utf8");
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```/gm)].map(
    ({ 0: _all, 1: language = "", 2: code = "", index }) => {
      const before = text.slice(0, index);
      const section = [...before.matchAll(/^#+ (.*)$/gm)].at(-1)?.[1] ?? "";
      return { place: `${page}:${before.split("\n").length}`, language, code, section };
    },
  );
}

const pages = [
  "README.md",
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => `docs/${file}`),
];
const blocks = pages.flatMap(blocksOf);
const code = blocks.filter(({ language }) => ["ts", "tsx", "js"].includes(language));

/** Returns whether a text is a module, possibly with `…` for omitted code, or the members of an object. */
function isCode({ code: text, language }: Block): boolean {
  const complete = text.replaceAll("…", "/* omitted */");
  return [text, complete, `({${complete}})`].some((source) => {
    const { diagnostics = [] } = ts.transpileModule(source, {
      reportDiagnostics: true,
      fileName: `block.${language}`,
      compilerOptions: {
        target: ts.ScriptTarget.ESNext,
        module: ts.ModuleKind.ESNext,
        jsx: ts.JsxEmit.Preserve,
      },
    });
    return diagnostics.length === 0;
  });
}

function isJson({ code: text }: Block): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test("B68 each block of TypeScript, JavaScript and JSON in README and docs/ has valid syntax", () => {
  expect(code.length).toBeGreaterThan(150);
  expect(code.filter((block) => !isCode(block)).map(({ place }) => place)).toEqual([]);
  const json = blocks.filter(({ language }) => language === "json");
  expect(json.filter((block) => !isJson(block)).map(({ place }) => place)).toEqual([]);
});

/** The names that each entry point of the package exports, types included. */
function exportedNames(): ReadonlyMap<string, ReadonlySet<string>> {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    exports: Record<string, string>;
  };
  const files = new Map(
    Object.entries(exports)
      .filter(([, target]) => target.endsWith(".js"))
      .map(([subpath, target]) => [
        `sallyport${subpath.slice(1)}`,
        join(root, target.replace("./dist/", "src/").replace(/\.js$/, ".ts")),
      ]),
  );
  const program = ts.createProgram([...files.values()], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    allowImportingTsExtensions: true,
    noEmit: true,
    types: [],
  });
  const checker = program.getTypeChecker();
  return new Map(
    [...files].map(([name, file]) => {
      const source = program.getSourceFile(file);
      const module = source && checker.getSymbolAtLocation(source);
      const names = module ? checker.getExportsOfModule(module).map((symbol) => symbol.name) : [];
      return [name, new Set(names)];
    }),
  );
}

test("B70 each import from sallyport in README and docs/ names an export of the package", () => {
  const exported = exportedNames();
  let count = 0;
  const wrong = code.flatMap(({ place, language, code: text }) => {
    const source = ts.createSourceFile(`block.${language}`, text, ts.ScriptTarget.ESNext, true);
    return source.statements.filter(ts.isImportDeclaration).flatMap(({ moduleSpecifier, importClause }) => {
      const from = (moduleSpecifier as ts.StringLiteral).text;
      if (!/^sallyport(\/|$)/.test(from)) return [];
      const bindings = importClause?.namedBindings;
      const names = bindings && ts.isNamedImports(bindings) ? bindings.elements : [];
      count += names.length;
      return names
        .map(({ propertyName, name }) => (propertyName ?? name).text)
        .filter((name) => !exported.get(from)?.has(name))
        .map((name) => `${place}: ${name} from "${from}"`);
    });
  });
  expect(wrong).toEqual([]);
  expect(count).toBeGreaterThan(70);
});

/** The modules of the reader that the pages import and do not show. */
const OWN_MODULES: Readonly<Record<string, string>> = {
  "src/rooms.ts": "export const isMember = (_user: string, _room: string): boolean => true;",
  "src/messages.ts": "export const deleteMessage = (id: number) => ({ deleted: id });",
  "src/login.ts":
    'export const currentUser = async (_request: Request) => ({ userId: "ann", sessionId: "s" });',
  "src/app.ts": `import type { RequestListener } from "node:http";
    export const app: RequestListener = (_request, response) => void response.end();`,
};

/** Writes an app with the package and the packages that the pages install. */
async function writeApp(files: Readonly<Record<string, string>>, settingsOfApp = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-documented-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules/sallyport"));
  for (const name of ["@types", "kysely", "libsql", "react", "vitest", "zod"])
    await symlink(join(root, "node_modules", name), join(folder, "node_modules", name));
  const compilerOptions = {
    ...{ target: "ES2022", module: "nodenext", moduleResolution: "nodenext", types: ["node"] },
    ...{ lib: ["ES2023", "DOM"], strict: true, skipLibCheck: true },
    ...{ rewriteRelativeImportExtensions: true, rootDir: ".", outDir: "dist", ...settingsOfApp },
  };
  const settings = {
    "package.json": JSON.stringify({ name: "documented", type: "module" }),
    "tsconfig.json": JSON.stringify({ compilerOptions, include: ["src", "test", "page", "app"] }),
  };
  for (const [path, text] of Object.entries({ ...settings, ...files })) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  return folder;
}

/** Runs the TypeScript compiler in the folder of an app. */
const compile = (folder: string) => node(folder, join(root, "node_modules/typescript/bin/tsc"), "-p", ".");

/** Runs Node.js in a folder, and returns its output and whether it exited with 0. */
async function node(folder: string, ...args: string[]) {
  return run(process.execPath, args, { cwd: folder }).then(
    ({ stdout }) => ({ isSuccessful: true, output: stdout }),
    ({ stdout, stderr }: { stdout: string; stderr: string }) => ({
      isSuccessful: false,
      output: stdout + stderr,
    }),
  );
}

test("B67 the app of the README compiles, and the tests of docs/guides/testing.md pass on it", async () => {
  const named = blocksOf("README.md").flatMap(({ code: text }) => {
    const [, file] = /^\/\/ ([\w-]+\.ts)\n/.exec(text) ?? [];
    return file === undefined ? [] : [[`src/${file}`, text] as const];
  });
  expect(named.map(([file]) => file)).toEqual(
    ["permissions", "channels", "chat-view", "sallyport", "server"].map((name) => `src/${name}.ts`),
  );
  const client = blocksOf("README.md").find(({ code: text }) => text.includes('from "sallyport/client"'));
  const [documented, ...others] = blocksOf("docs/guides/testing.md");
  const fragments = others
    .filter(({ section }) => ["Expect denials", "Change permissions"].includes(section))
    .map(({ code: text }) => text);
  expect(fragments).toHaveLength(3);
  const folder = await writeApp({
    ...OWN_MODULES,
    ...Object.fromEntries(named),
    "src/client.ts": client?.code ?? "",
    "test/first.test.ts": documented?.code ?? "",
    "test/fragments.test.ts": `
      ${(documented?.code ?? "")
        .split("\n")
        .filter((line) => line.startsWith("import "))
        .join("\n")}
      test("the other blocks of the page", async () => {
        const app = await createTestApp(sallyport);
        const permissions = [chat.can_use_chat];
        const ann = await app.connectAs<ChatView>("ann", { channel: "rooms/general", permissions });
        ${fragments.join("\n")}
        await app.close();
      });`,
  });
  expect(await compile(folder)).toEqual({ isSuccessful: true, output: "" });
  const tested = await node(
    folder,
    "--test",
    "--test-reporter=tap",
    "dist/test/first.test.js",
    "dist/test/fragments.test.js",
  );
  expect(tested.output).toMatch(/^# pass 2$/m);
  expect(tested).toMatchObject({ isSuccessful: true });
});

/** The server of the page about React, and the package that it uses in a test. */
const REACT_MODULES: Readonly<Record<string, string>> = {
  "src/chat-view.ts": `import { handler, WebSocketView } from "sallyport";
    import { z } from "zod";
    export type { ChatMessage } from "./messages.ts";
    export class ChatView extends WebSocketView {
      say = handler({ body: z.object({ text: z.string() }) }, () => null);
    }`,
  "test/testing-library.d.ts": `declare module "@testing-library/react" {
    export function render(element: import("react").ReactNode): void;
    export function act(run: () => void): void;
    export const screen: {
      findByText(text: string): Promise<HTMLElement>;
      getByRole(role: string, options: { name: string }): HTMLElement;
    };
  }`,
};

test("each block of docs/guides/react.md names its file, and they compile together", async () => {
  const named = blocksOf("docs/guides/react.md").map(({ place, language, code: text }) => {
    const [, file] = /^\/\/ ((?:[\w-]+\/)+[\w.-]+\.tsx?)\n/.exec(text) ?? [];
    expect(file, place).toMatch(new RegExp(`\\.${language}$`));
    return [file ?? place, text] as const;
  });
  expect(named.length).toBeGreaterThan(7);
  expect(new Set(named.map(([file]) => file)).size).toBe(named.length);
  const folder = await writeApp({ ...REACT_MODULES, ...Object.fromEntries(named) }, { jsx: "react-jsx" });
  expect(await compile(folder)).toEqual({ isSuccessful: true, output: "" });
});
