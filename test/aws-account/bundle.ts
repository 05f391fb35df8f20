import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { type ZipEntry, zip } from "./zip.ts";

const root = resolve(import.meta.dirname, "../..");

/** The packages with files that a bundle cannot contain, as Lambda on x86_64 needs them. */
const NATIVE = ["libsql", "@libsql/linux-x64-gnu", "@neon-rs/load", "detect-libc"];

/** Returns the ZIP archive of the function: one bundle, and libsql beside it. */
export async function bundleFunction(): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-smoke-"));
  try {
    const file = join(folder, "index.mjs");
    await build({
      entryPoints: [join(import.meta.dirname, "function/handler.ts")],
      outfile: file,
      bundle: true,
      minify: true,
      keepNames: true,
      platform: "node",
      target: "node22",
      format: "esm",
      external: ["pg-native", "pg", "@aws-sdk/*", "libsql"],
      logLevel: "error",
      banner: {
        js: 'import { createRequire as bannerRequire } from "node:module"; const require = bannerRequire(import.meta.url);',
      },
    });
    const packages = await Promise.all((await nativePackages(folder)).map(filesOf));
    return zip([{ path: "index.mjs", data: await readFile(file) }, ...packages.flat()]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Package {
  readonly name: string;
  readonly folder: string;
}

/**
 * Returns the folders of the packages. `npm ci` installs the native part of libsql for the
 * operating system of this machine only. On another one than Linux on x86_64, npm installs it for
 * Linux in a temporary folder.
 */
async function nativePackages(folder: string): Promise<readonly Package[]> {
  const installed = join(root, "node_modules");
  const locate = (modules: string) => NATIVE.map((name) => ({ name, folder: join(modules, name) }));
  if (existsSync(join(installed, "@libsql/linux-x64-gnu"))) return locate(installed);
  const { version } = JSON.parse(await readFile(join(installed, "libsql/package.json"), "utf8")) as {
    version: string;
  };
  const target = join(folder, "native");
  await mkdir(target);
  const platform = ["--os=linux", "--cpu=x64", "--libc=glibc"];
  const quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
  await promisify(execFile)("npm", ["install", ...platform, ...quiet, `libsql@${version}`], { cwd: target });
  return locate(join(target, "node_modules"));
}

async function filesOf({ name, folder }: Package): Promise<ZipEntry[]> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const code = files.filter((file) => file.isFile() && /\.(js|json|node)$/.test(file.name));
  return Promise.all(
    code.map(async (file) => {
      const path = join(file.parentPath, file.name);
      const relative = path.slice(folder.length + 1).replaceAll("\\", "/");
      return { path: `node_modules/${name}/${relative}`, data: await readFile(path) };
    }),
  );
}
