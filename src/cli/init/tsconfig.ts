import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { type JsonValue, readJson } from "./edit-files.ts";

/** The options of a compiler that `init` reads. */
export interface CompilerOptions {
  readonly module?: string;
  readonly moduleResolution?: string;
  readonly types?: readonly string[];
  readonly allowImportingTsExtensions?: boolean;
  readonly rewriteRelativeImportExtensions?: boolean;
}

/** What `init` found out about TypeScript in a project. */
export interface TypeScript {
  /** The major version, or undefined if it is unknown. */
  readonly major: number | undefined;
  /** The minor version, or undefined if TypeScript is not installed. */
  readonly minor: number | undefined;
  /** The options of tsconfig.json and its bases, or undefined without a tsconfig.json. */
  readonly options: CompilerOptions | undefined;
  /** Whether every base of tsconfig.json was read. */
  readonly isComplete: boolean;
}

/** @throws ConfigurationError if tsconfig.json is not valid JSON */
export async function readTypeScript(folder: string, range: string | undefined): Promise<TypeScript> {
  const file = join(folder, "tsconfig.json");
  const [major = majorOf(range), minor] = installedVersion(folder);
  if (!existsSync(file)) return { major, minor, options: undefined, isComplete: true };
  return { major, minor, ...(await readOptions(file)) };
}

/** Returns the major and minor version of TypeScript that is installed, or nothing. */
function installedVersion(folder: string): readonly number[] {
  try {
    const file = createRequire(join(folder, "package.json")).resolve("typescript/package.json");
    const { version } = JSON.parse(readFileSync(file, "utf8")) as { readonly version: string };
    return version.split(".", 2).map(Number);
  } catch {
    return [];
  }
}

/** Returns the major version of a range. */
function majorOf(range: string | undefined): number | undefined {
  if (range === "latest" || range === "next" || range === "*") return 6;
  const [, digits] = /^[^\da-z]*(\d+)/.exec(range ?? "") ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/** Returns the options of a tsconfig.json with those of its bases. */
async function readOptions(
  file: string,
  seen: readonly string[] = [],
): Promise<{ readonly options: CompilerOptions; readonly isComplete: boolean }> {
  const { compilerOptions = {}, extends: base } = (await readJson(file)) as {
    readonly compilerOptions?: CompilerOptions;
    readonly extends?: string | readonly string[];
  };
  let options: CompilerOptions = {};
  let isComplete = true;
  for (const name of [base ?? []].flat()) {
    const found = baseFile(file, name);
    if (found === undefined || seen.includes(found)) {
      isComplete = false;
      continue;
    }
    const read = await readOptions(found, [...seen, found]);
    options = { ...options, ...read.options };
    isComplete &&= read.isComplete;
  }
  return { options: { ...options, ...compilerOptions }, isComplete };
}

/** Returns the file of `extends`, or undefined if it does not exist. */
function baseFile(file: string, name: string): string | undefined {
  if (name.startsWith(".") || name.startsWith("/")) {
    const path = resolve(dirname(file), name);
    return [path, `${path}.json`].find((each) => each.endsWith(".json") && existsSync(each));
  }
  const require = createRequire(file);
  for (const each of [name, `${name}.json`, `${name}/tsconfig.json`]) {
    try {
      const path = require.resolve(each);
      if (path.endsWith(".json")) return path;
    } catch {
      // The next name is tried.
    }
  }
  return undefined;
}

/**
 * Returns what tsconfig.json needs to find the types of Node.js and the exports of the package.
 *
 * @param packages the packages of the project
 */
export function neededOptions(
  { major, options, isComplete }: TypeScript,
  packages: readonly string[],
): readonly JsonValue[] {
  // A base that was not read can contain the options.
  if (options === undefined || !isComplete) return [];
  const needed: JsonValue[] = [];
  if (options.module === undefined && options.moduleResolution === undefined && (major ?? 0) < 6) {
    needed.push([["compilerOptions", "module"], "nodenext"]);
  }
  // TypeScript 5 includes all packages of types without this option.
  if (options.types === undefined && major !== undefined && major >= 6) {
    const others = packages.flatMap((name) => /^@types\/(.+)$/.exec(name)?.[1] ?? []);
    needed.push([["compilerOptions", "types"], [...new Set(["node", ...others])]]);
  }
  return needed;
}

/**
 * Returns the change of tsconfig.json that makes TypeScript read the exports of a package, or
 * undefined if it reads them already.
 */
export function resolutionChange({ major, options, isComplete }: TypeScript): string | undefined {
  if (options === undefined) return undefined;
  const module = options.module?.toLowerCase();
  const resolution = options.moduleResolution?.toLowerCase();
  if (module === undefined && resolution === undefined) return undefined;
  if (resolution !== undefined) {
    if (!["node", "node10", "classic"].includes(resolution)) return undefined;
  } else if (!isComplete || (major ?? 0) >= 6 || /^(?:node\d+|nodenext|preserve)$/.test(module ?? "")) {
    return undefined;
  }
  return module !== undefined && /^es/.test(module)
    ? '"moduleResolution": "bundler"'
    : `"module": "nodenext"${resolution === undefined ? "" : ', and remove "moduleResolution"'}`;
}

/** Returns how TypeScript files of a project import each other: `.ts` or `.js`. */
export function importExtension({ options }: TypeScript): string {
  if (!options) return ".ts";
  return options.allowImportingTsExtensions || options.rewriteRelativeImportExtensions ? ".ts" : ".js";
}
