import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readJson } from "./edit-files.ts";
import { readTypeScript, type TypeScript } from "./tsconfig.ts";

export type Framework = "next" | "express" | "fastify" | "hono" | "node";
export const DATABASES = ["sqlite", "postgres"] as const;
export type Database = (typeof DATABASES)[number];

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
  readonly typescript: TypeScript;
  /** Whether the project has neither a tsconfig.json nor the package typescript. */
  readonly isJavaScript: boolean;
  /** Whether a file such as `.env` contains DATABASE_URL. */
  readonly hasDatabaseUrl: boolean;
}

const FRAMEWORKS = ["next", "express", "fastify", "hono"] as const;

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
  return {
    folder,
    packageJson,
    packages,
    framework,
    database: database ?? ("pg" in packages || hasDatabaseUrl ? "postgres" : "sqlite"),
    sources: (framework === "next" ? isNextInSrc(folder) : existsSync(join(folder, "src"))) ? "src/" : "",
    typescript,
    isJavaScript: typescript.options === undefined && !("typescript" in packages),
    hasDatabaseUrl,
  };
}

/** Next.js ignores the pages in `src/` if the project has the same folders without `src/`. */
function isNextInSrc(folder: string): boolean {
  const has = (path: string) => existsSync(join(folder, path));
  return !has("app") && !has("pages") && (has("src/app") || has("src/pages"));
}

function containsDatabaseUrl(file: string): boolean {
  return existsSync(file) && /^\s*(?:export\s+)?DATABASE_URL\s*=/m.test(readFileSync(file, "utf8"));
}
