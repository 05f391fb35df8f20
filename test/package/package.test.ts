import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { transformSync } from "esbuild";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);

/** The browser client's modules with everything they import, as a page would load them. */
function clientModules(): Map<string, string> {
  const modules = new Map<string, string>();
  const visit = (file: string) => {
    if (modules.has(file)) return;
    const text = readFileSync(file, "utf8");
    modules.set(file, text);
    for (const [, target] of text.matchAll(/from "([^"]+)"/g)) {
      expect(target, `${file} imports what no browser has`).toMatch(/^\.\.?\//);
      visit(resolve(file, "..", target ?? ""));
    }
  };
  visit(join(root, "dist/client/socket.js"));
  return modules;
}

describe("the package", () => {
  test("resolves every export by its own name, and importing opens nothing", async () => {
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      exports: Record<string, string>;
    };
    // aws-cdk-lib is not a dependency of the repository. `test/matrix/cdk.test.ts` imports it.
    const notHere = ["./package.json", "./cdk"];
    const names = Object.keys(exports)
      .filter((subpath) => !notHere.includes(subpath))
      .map((subpath) => `sallyport${subpath.slice(1)}`);
    const script = `
      for (const name of ${JSON.stringify(names)}) {
        const module = await import(name);
        if (Object.keys(module).length === 0) throw new Error(name + " exports nothing");
      }
      console.log(process.getActiveResourcesInfo().filter((kind) => /TCP|UDP|Timeout|Immediate/.test(kind)).join());`;
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], { cwd: root });
    expect(stdout.trim()).toBe("");
  });

  test("loads no database driver with its core", async () => {
    const script = `
      await import("sallyport");
      const { createRequire } = await import("node:module");
      console.log(Object.keys(createRequire(process.cwd() + "/x.js").cache).filter((file) => /libsql/.test(file)).join());`;
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], { cwd: root });
    expect(stdout).not.toContain("libsql");
  });

  test("has a browser client without node: or dependencies, under 6 kB minified and compressed", () => {
    const code = [...clientModules().values()].map((text) => transformSync(text, { minify: true }).code);
    expect(gzipSync(code.join("\n"), { level: 9 }).length).toBeLessThan(6 * 1024);
  });

  test("has no script that runs when it is installed", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    const atInstall = ["preinstall", "install", "postinstall", "prepare", "prepublish"];
    expect(Object.keys(scripts).filter((name) => atInstall.includes(name))).toEqual([]);
  });

  test("locks no download address", () => {
    expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain('"resolved": "http');
  });

  test("ships neither tests nor build notes", async () => {
    const { stdout } = await run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: root });
    const [packed] = JSON.parse(stdout) as [{ files: { path: string }[] }];
    const paths = packed.files.map(({ path }) => path);
    expect(paths).toContain("dist/index.js");
    expect(paths).toContain("dist/index.d.ts");
    expect(paths).toContain("bin/sallyport.js");
    for (const name of ["index.html", "inspector.js", "inspector.css", "LICENSES.txt"])
      expect(paths).toContain(`dist/inspector/${name}`);
    expect(paths).toContain("docs/permissions.md");
    // The templates name these recipes.
    expect(paths).toContain("examples/deploy/cdk-fargate/chat-stack.ts");
    const notShipped = /^(test|examples\/(?!deploy\/)|bench|src)\/|\.test\.|tsbuildinfo/;
    expect(paths.filter((path) => notShipped.test(path))).toEqual([]);
  });
});
