import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, symlink } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type Installation, install } from "./bundles-install.ts";

const root = join(import.meta.dirname, "../..");
const PACKAGES = ["restify@11", "connect@3", "polka@0.5", "express@5", "express4@npm:express@4"];

let installation: Installation;
beforeAll(async () => {
  installation = await install(...PACKAGES);
  await symlink(root, join(installation.folder, "node_modules/sallyport"));
  await cp(join(import.meta.dirname, "bundles/middleware.mjs"), join(installation.folder, "middleware.mjs"));
}, 240_000);
afterAll(() => installation?.remove());

/** Starts the app with a framework, and returns its URL. The process ends with an error that nothing handles. */
async function start(framework: string): Promise<string> {
  const program = join(installation.folder, "middleware.mjs");
  const child = spawn(process.execPath, ["--no-deprecation", program, framework], {
    cwd: installation.folder,
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill());
  const [url] = (await once(createInterface(child.stdout), "line")) as [string];
  return url;
}

test.each(["restify", "connect", "polka", "express", "express4"])(
  "%s passes events to the middleware and everything else to the app",
  async (framework) => {
    const url = await start(framework);
    const call = (path: string, method: string) => fetch(url + path, { method });
    for (let round = 0; round < 2; round++) {
      const token = await call("/api/ws-token", "POST");
      expect([token.status, await token.json()]).toMatchObject([401, { ok: false }]);
      expect((await call("/ws/chat/connect", "POST")).status).toBe(403);
      const own = await call("/own", "GET");
      expect([own.status, await own.text()]).toEqual([200, "own"]);
      expect((await call("/nowhere", "GET")).status).toBe(404);
    }
  },
);
