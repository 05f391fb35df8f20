import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { readJson } from "./edit-files.ts";
import { readTypeScript, type TypeScript } from "./tsconfig.ts";

export type Framework = "next" | "express" | "fastify" | "hono" | "node";
export const DATABASES = ["sqlite", "postgres"] as const;
export type Database = (typeof DATABASES)[number];

/** The parts of a package.json that `init` reads. */
interface PackageJson {
  readonly type?: string;
  readonly main?: string;
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
  /** Folder of the sources, such as `src/`, or an empty text. The new files are placed in it. */
  readonly sources: string;
  /** Path of the file that starts the server, such as `src/server.ts`, if it was found. */
  readonly server: string | undefined;
  /** The text of that file, or an empty text. */
  readonly serverText: string;
  readonly packageJson: PackageJson;
  readonly packages: Readonly<Record<string, string>>;
  readonly typescript: TypeScript;
  /** `javascript` without a tsconfig.json, the package typescript and a server or page in TypeScript. */
  readonly language: "typescript" | "javascript";
  /** Whether package.json makes `.js` and `.ts` files ES modules. */
  readonly isModule: boolean;
  /** Whether Node.js runs the server as an ES module. */
  readonly isServerModule: boolean;
  /** Whether the app uses a bundler for its pages. */
  readonly hasBundler: boolean;
  /** Whether a file such as `.env` contains DATABASE_URL. */
  readonly hasDatabaseUrl: boolean;
}

const FRAMEWORKS = ["next", "express", "fastify", "hono"] as const;
/** Packages that bundle pages, or use such a package. */
const BUNDLERS = [
  ...["next", "vite", "webpack", "parcel", "rollup", "esbuild", "astro", "react-scripts"],
  ...["@rspack/core", "@rsbuild/core", "@angular/cli", "@angular/build"],
];
const SERVER_NAMES = ["server", "index", "app", "main"];
const SERVER_EXTENSIONS = ["ts", "mts", "cts", "js", "mjs", "cjs"];

/**
 * @param database the database of Sallyport. Default: PostgreSQL if the app uses it, else SQLite
 * @throws ConfigurationError if package.json or tsconfig.json is not valid JSON
 */
export async function readProject(folder: string, database?: Database): Promise<Project> {
  const packageJson = (await readJson(join(folder, "package.json"))) as PackageJson;
  const packages = { ...packageJson.dependencies, ...packageJson.devDependencies };
  const framework = FRAMEWORKS.find((name) => name in packages) ?? "node";
  const typescript = await readTypeScript(folder, packages.typescript);
  const hasDatabaseUrl = [".env", ".env.local", ".env.development"].some((file) =>
    containsDatabaseUrl(join(folder, file)),
  );
  const server = framework === "next" ? undefined : serverFile(folder, packageJson);
  const serverText = server === undefined ? "" : readFileSync(join(folder, server), "utf8");
  const sources = framework === "next" ? (isNextInSrc(folder) ? "src/" : "") : sourcesOf(folder, server);
  const isTypeScript =
    typescript.options !== undefined ||
    "typescript" in packages ||
    (framework === "next" ? !hasPagesInJavaScript(join(folder, sources)) : /\.[cm]?ts$/.test(server ?? ""));
  return {
    folder,
    packageJson,
    packages,
    framework,
    database: database ?? ("pg" in packages || hasDatabaseUrl ? "postgres" : "sqlite"),
    sources,
    server,
    serverText,
    typescript,
    language: isTypeScript ? "typescript" : "javascript",
    isModule: packageJson.type === "module",
    isServerModule: isServerModule({ server, serverText, packageJson, typescript }),
    hasBundler: BUNDLERS.some((name) => name in packages),
    hasDatabaseUrl,
  };
}

/**
 * Returns the path of the file that starts the server: that of a script, `main` of package.json, or a
 * usual name. Compiled files are ignored.
 */
function serverFile(folder: string, { scripts = {}, main }: PackageJson): string | undefined {
  const named = ["dev", "start"].flatMap((name) =>
    [...String(scripts[name] ?? "").matchAll(/(?:^|\s)(?:\.\/)?([\w./-]+\.[cm]?[jt]s)(?=\s|$)/g)].map(
      ([, path]) => path,
    ),
  );
  const usual = ["src/", "", "server/"].flatMap((path) =>
    SERVER_NAMES.flatMap((name) => SERVER_EXTENSIONS.map((extension) => `${path}${name}.${extension}`)),
  );
  return [...named, main, ...usual].find(
    (path) =>
      typeof path === "string" &&
      // A file outside of the project belongs to another one.
      !/^\/|\.\.\/|^(?:dist|build|out|lib)\//.test(path) &&
      /\.[cm]?[jt]s$/.test(path) &&
      statSync(join(folder, path), { throwIfNoEntry: false })?.isFile() === true,
  );
}

/** Returns the folder of the server. New files beside a program in `bin/` would be unusual. */
function sourcesOf(folder: string, server: string | undefined): string {
  if (server === undefined) return existsSync(join(folder, "src")) ? "src/" : "";
  const [parent = ""] = /^(?:[^/]+\/)+/.exec(server) ?? [];
  return parent === "bin/" ? "" : parent;
}

/**
 * Returns whether Node.js runs the server as an ES module: by its extension, else by `type` of
 * package.json, else by its syntax. TypeScript compiles `.ts` files without `type` to CommonJS.
 */
function isServerModule({
  server,
  serverText,
  packageJson,
  typescript,
}: Pick<Project, "server" | "serverText" | "packageJson" | "typescript">): boolean {
  const [, extension = ""] = /\.(\w+)$/.exec(server ?? "") ?? [];
  if (extension.startsWith("m")) return true;
  if (extension.startsWith("c")) return false;
  if (packageJson.type !== undefined) return packageJson.type === "module";
  if (extension === "ts" && typescript.options !== undefined) return false;
  return /^\s*(?:import|export)\b/m.test(serverText);
}

/** Returns the extension of new source files, which are ES modules: `.ts`, `.js` or `.mjs`. */
export function sourceExtension({
  language,
  isModule,
}: Pick<Project, "language" | "isModule">): ".ts" | ".js" | ".mjs" {
  if (language === "typescript") return ".ts";
  return isModule ? ".js" : ".mjs";
}

/** Next.js ignores the pages in `src/` if the project has the same folders without `src/`. */
function isNextInSrc(folder: string): boolean {
  const has = (path: string) => existsSync(join(folder, path));
  return !has("app") && !has("pages") && (has("src/app") || has("src/pages"));
}

function hasPagesInJavaScript(folder: string): boolean {
  return ["app/page", "app/layout", "pages/index", "pages/_app"].some(
    (page) => existsSync(join(folder, `${page}.js`)) || existsSync(join(folder, `${page}.jsx`)),
  );
}

function containsDatabaseUrl(file: string): boolean {
  return existsSync(file) && /^\s*(?:export\s+)?DATABASE_URL\s*=/m.test(readFileSync(file, "utf8"));
}
