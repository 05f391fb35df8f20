import { execFile } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import type { RequestListener } from "node:http";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Decision } from "../../src/audit/decision.ts";
import { installPackages } from "../packages/install.ts";

const run = promisify(execFile);
/** Next.js is installed here. It must find its packages in a parent folder of the app. */
const PACKAGES = await installPackages("next");
const require = createRequire(join(PACKAGES, "package.json"));
// Importing its types would require NODE_ENV in the environment of every file.
const next = require("next") as (options: { dev: boolean; dir: string }) => NextServer;
const PACKAGE = resolve(import.meta.dirname, "../..");
const CHANNEL = "sallyport:next-app";

interface NextServer {
  prepare(): Promise<void>;
  getRequestHandler(): RequestListener;
  close(): Promise<void>;
}

/** Reports of the app, one at a time. */
export interface Report {
  readonly agent?: string | null;
  readonly left?: number | undefined;
  readonly decision?: Decision;
  readonly error?: unknown;
}

/** `next-app/`, built by Next.js with this package installed, and served in this process. */
export class NextApp {
  readonly #layers: readonly string[];
  #folder = "";
  #app: NextServer | undefined;
  #resting: (() => Promise<void>) | undefined;

  /** @param changes folder with files that replace some files of the app */
  constructor(changes?: "next-app-prefixed") {
    this.#layers = ["next-app", ...(changes === undefined ? [] : [changes])];
  }

  /**
   * Builds the app, which takes ten seconds.
   *
   * @returns what Next.js printed
   */
  async build(): Promise<string> {
    const builds = join(PACKAGES, ".next");
    await mkdir(builds, { recursive: true });
    const folder = await mkdtemp(join(builds, "app-"));
    this.#folder = folder;
    for (const layer of this.#layers) await cp(join(import.meta.dirname, layer), folder, { recursive: true });
    await install(folder);
    // For TypeScript in app/, Next.js would install types and write its own configuration.
    for (const route of ["own", "api/ws-token", "ws/chat/[event]"]) {
      const file = join(folder, "app", route, "route");
      await rename(`${file}.ts`, `${file}.js`);
    }
    const { stdout } = await run(process.execPath, [require.resolve("next/dist/bin/next"), "build"], {
      cwd: folder,
      env: { ...process.env, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1", CI: "1" },
    });
    return stdout;
  }

  /** Returns whether the default database of the app exists. */
  get hasOpened(): boolean {
    return existsSync(join(this.#folder, "app.db"));
  }

  /** Starts the app with a database. Call {@link rest} to stop it. */
  async serve(database: string, report: (reports: Report) => void): Promise<RequestListener> {
    const onMessage = (message: unknown) => report(message as Report);
    subscribe(CHANNEL, onMessage);
    process.env.DATABASE_PATH = database;
    this.#resting = async () => {
      const kept = globalThis as { sallyport?: { close(): Promise<void> } };
      await kept.sallyport?.close();
      delete kept.sallyport;
      delete process.env.DATABASE_PATH;
      unsubscribe(CHANNEL, onMessage);
      // Loads the modules of the next one again.
      for (const file of Object.keys(require.cache)) {
        if (file.startsWith(this.#folder)) delete require.cache[file];
      }
    };
    // Runs once in a process. For the same folder, a second one would be the closed one.
    this.#app ??= await prepared(this.#folder);
    return this.#app.getRequestHandler();
  }

  async rest(): Promise<void> {
    await this.#resting?.();
    this.#resting = undefined;
  }

  async remove(): Promise<void> {
    await this.#app?.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/**
 * Installs the built package. Without a package.json of its own, the app would be part of this
 * package.
 */
async function install(folder: string): Promise<void> {
  await writeFile(join(folder, "package.json"), '{ "private": true }\n');
  for (const part of ["package.json", "dist"]) {
    await cp(join(PACKAGE, part), join(folder, "node_modules/sallyport", part), { recursive: true });
  }
}

async function prepared(dir: string): Promise<NextServer> {
  const app = next({ dev: false, dir });
  await app.prepare();
  return app;
}
