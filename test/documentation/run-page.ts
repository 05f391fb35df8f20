import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { type Page, ROOT } from "./pages.ts";
import { fileName } from "./sample-program.ts";

const MODULES = join(import.meta.dirname, "modules");
const run = promisify(execFile);

/** The samples of a page as compiled modules, with the modules of the reader that they import. */
export class RunnablePage {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Writes and compiles the samples that name their file. A name without a folder is in `src/`. */
  static async compile({ samples }: Page, settings: object = {}): Promise<RunnablePage> {
    const folder = await mkdtemp(join(tmpdir(), "sallyport-samples-"));
    const files = new Map<string, string>(
      readdirSync(MODULES).map((name) => [`src/${name}`, readFileSync(join(MODULES, name), "utf8")] as const),
    );
    for (const sample of samples) {
      const name = fileName(sample);
      if (name?.endsWith(".ts")) files.set(name.includes("/") ? name : `src/${name}`, sample.code);
    }
    for (const [name, text] of files) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), text);
    }
    await mkdir(join(folder, "node_modules"));
    await symlink(ROOT, join(folder, "node_modules/sallyport"));
    for (const name of ["@types", "jose", "kysely", "libsql", "zod"])
      await symlink(join(ROOT, "node_modules", name), join(folder, "node_modules", name));
    const compilerOptions = {
      ...{ target: "es2022", module: "nodenext", types: [] },
      ...{ rootDir: ".", outDir: "dist", rewriteRelativeImportExtensions: true },
    };
    await writeFile(
      join(folder, "package.json"),
      JSON.stringify({ name: "samples", type: "module", ...settings }),
    );
    await writeFile(
      join(folder, "tsconfig.json"),
      JSON.stringify({ compilerOptions, include: ["src", "test"] }),
    );
    // The samples are checked by compileErrors(). Modules that the page does not use may not fit to it.
    await run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", ".", "--noCheck"], {
      cwd: folder,
    });
    return new RunnablePage(folder);
  }

  /** Imports the sample that names this file. */
  // biome-ignore lint/suspicious/noExplicitAny: the types of a sample are checked where it is compiled
  async import(name: string): Promise<any> {
    return import(/* @vite-ignore */ join(this.folder, "dist/src", name.replace(/\.ts$/, ".js")));
  }

  /** Runs the sample that is a test file, such as `test/first.test.ts`. Returns the output in the format TAP. */
  async test(name: string): Promise<string> {
    const file = join("dist", name.replace(/\.ts$/, ".js"));
    const { stdout } = await run(process.execPath, ["--test", "--test-reporter=tap", file], {
      cwd: this.folder,
    }).catch((error: { stdout: string }) => error);
    return stdout;
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Creates a test app of what samples export. */
// biome-ignore lint/suspicious/noExplicitAny: the types of a sample are checked where it is compiled
export async function createPageApp(parts: { permissions: any; channels?: any; views: any }): Promise<any> {
  // The samples import the built package. The view class of the source would be another one.
  const [sallyport, storage, testing] = await Promise.all(
    ["sallyport", "sallyport/storage/sqlite", "sallyport/testing"].map((name) => import(name)),
  );
  const app = sallyport.createSallyport({
    storage: storage.sqlite(":memory:"),
    authenticate: () => null,
    origins: ["https://www.example.com"],
    ...parts,
  });
  return testing.createTestApp(app);
}
