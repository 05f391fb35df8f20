import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { packageFile } from "../package-file.ts";

/** A starting point for a new app. */
export interface Template {
  /** What the app is made of, for the list of templates. */
  readonly hint: string;
  /** Folders in `templates/`. A file of a later folder replaces the same file of an earlier one. */
  readonly folders: readonly string[];
}

/** The templates by name. */
export const TEMPLATES = {
  minimal: {
    hint: "node:http, SQLite, a page without a bundler",
    folders: ["common", "server", "session", "page", "sqlite", "minimal"],
  },
  "fastify-sqlite": {
    hint: "Fastify, SQLite, a page without a bundler",
    folders: ["common", "server", "session", "page", "sqlite", "fastify-sqlite"],
  },
  "express-postgres-react": {
    hint: "Express, PostgreSQL, React with Vite",
    folders: ["common", "server", "react", "express-postgres-react"],
  },
  "next-better-auth": {
    hint: "Next.js, PostgreSQL, sign-in with better-auth",
    folders: ["common", "server", "react", "next-better-auth"],
  },
  "hono-lambda": {
    hint: "Hono in an AWS Lambda function, PostgreSQL, a stack for the AWS CDK",
    folders: ["common", "session", "page", "hono-lambda"],
  },
} as const satisfies Readonly<Record<string, Template>>;

export type TemplateName = keyof typeof TEMPLATES;

/**
 * Returns the texts of the files in folders of `templates/`, by their path in the app.
 *
 * A leading `_` stands for the dot of `.gitignore` and `.env`, because npm does not publish such
 * files.
 */
export async function templateFiles(folders: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const folder of folders) {
    const root = packageFile(join("templates", folder));
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    for (const entry of entries.filter((each) => each.isFile())) {
      const file = join(entry.parentPath, entry.name);
      const path = relative(root, file)
        .replaceAll("\\", "/")
        .replace(/(^|\/)_(?=[a-z])/, "$1.");
      files.set(path, await readFile(file, "utf8"));
    }
  }
  return new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
}
