import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** A temporary folder in which packages are installed that are too large to be dependencies of the repository. */
export interface Installation {
  /** Path of the folder, with a package.json and node_modules. */
  readonly folder: string;
  remove(): Promise<void>;
}

export async function install(...packages: readonly string[]): Promise<Installation> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-matrix-"));
  await writeFile(join(folder, "package.json"), '{"private":true,"type":"module"}');
  const options = ["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"];
  await promisify(execFile)("npm", ["install", ...options, ...packages], { cwd: folder });
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}
