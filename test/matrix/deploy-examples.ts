import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { run } from "./commands.ts";
import { copyBeside, installBeside } from "./installed-beside.ts";

const root = resolve(import.meta.dirname, "../..");

/** The folder of the recipes. */
export const EXAMPLES = join(root, "examples/deploy");

/** Copies the recipes beside the packages that they import, and compiles them in place. */
export async function compileExamples(): Promise<string> {
  const folder = await copyBeside(await installBeside("cdk"), EXAMPLES);
  const tsconfig = JSON.parse(readFileSync(join(folder, "tsconfig.json"), "utf8"));
  tsconfig.compilerOptions.noEmit = false;
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(tsconfig));
  await run([process.execPath, join(root, "node_modules/typescript/bin/tsc"), "-p", "."], { cwd: folder });
  return folder;
}
