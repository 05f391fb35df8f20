import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect } from "vitest";
import { freePort } from "../../bench/src/free-port.ts";
import { commandEnv, run } from "../matrix/commands.ts";
import { packTarball } from "../matrix/consumer.ts";

const root = resolve(import.meta.dirname, "../..");

/** An app that `sallyport init` created in an empty folder, with its packages from the registry. */
export class GeneratedApp {
  readonly folder: string;
  readonly url: string;
  readonly #env: Readonly<Record<string, string>>;
  #dev: ChildProcess | undefined;
  #production: ChildProcess | undefined;
  output = "";

  private constructor(
    folder: string,
    { port, gatewayPort, databasePort }: Readonly<Record<"port" | "gatewayPort" | "databasePort", number>>,
  ) {
    this.folder = folder;
    this.url = `http://localhost:${port}`;
    this.#env = {
      PORT: String(port),
      GATEWAY_PORT: String(gatewayPort),
      DATABASE_URL: `postgres://app:secret@localhost:${databasePort}/app`,
      NO_COLOR: "1",
    };
  }

  /** Creates the app, and installs its packages with npm. Sallyport comes from a tarball. */
  static async create(template: string): Promise<GeneratedApp> {
    // mkdtemp creates the folder with mode 0700.
    const parent = await mkdtemp(join(tmpdir(), "sallyport-template-"));
    const tarball = await packTarball(parent);
    const bin = join(root, "bin/sallyport.js");
    await run([process.execPath, bin, "init", "my-app", "--template", template, "--yes", "--no-install"], {
      cwd: parent,
    });
    const app = await GeneratedApp.#at(join(parent, "my-app"));
    const file = join(app.folder, "package.json");
    const text = await readFile(file, "utf8");
    expect(text).toMatch(/"sallyport": "\^\d/);
    await writeFile(file, text.replace(/"sallyport": "\^[^"]*"/, `"sallyport": "file:${tarball}"`));
    await app.run("npm", "install", "--no-audit", "--no-fund", "--loglevel=error");
    return app;
  }

  /** An app whose folder does not exist yet, beside a tarball of Sallyport. */
  static async planned(name: string): Promise<{ readonly app: GeneratedApp; readonly tarball: string }> {
    const parent = await mkdtemp(join(tmpdir(), "sallyport-documented-"));
    const tarball = await packTarball(parent);
    return { app: await GeneratedApp.#at(join(parent, name)), tarball };
  }

  static async #at(folder: string): Promise<GeneratedApp> {
    return new GeneratedApp(folder, {
      port: await freePort(),
      gatewayPort: await freePort(),
      databasePort: await freePort(),
    });
  }

  /** Returns a text of the documentation with the ports of this app. */
  withPorts(text: string): string {
    const { PORT = "", GATEWAY_PORT = "" } = this.#env;
    return text
      .replaceAll("localhost:3000", `localhost:${PORT}`)
      .replaceAll("localhost:3001", `localhost:${GATEWAY_PORT}`);
  }

  /** Runs a command in the folder of the app. @returns what it printed on stdout */
  run(...command: readonly string[]): Promise<string> {
    return this.runWith({}, ...command);
  }

  /** Runs a script in a folder, up to its first error. @returns what it printed on stdout */
  shell(folder: string, script: string): Promise<string> {
    return run(["bash", "-ec", script], { cwd: folder, env: this.#env });
  }

  /** Runs a command with further environment variables. @returns what it printed on stdout */
  runWith(env: Readonly<Record<string, string>>, ...command: readonly string[]): Promise<string> {
    return run(command, { cwd: this.folder, env: { ...this.#env, ...env } });
  }

  /** Runs a command until {@link remove}. Resolves when the server accepts connections. */
  async dev(command: readonly string[] = ["npm", "run", "dev"]): Promise<void> {
    const [program = "", ...words] = command;
    const dev = spawn(program, words, {
      cwd: this.folder,
      env: commandEnv({ cwd: this.folder, env: this.#env }),
      stdio: ["ignore", "pipe", "pipe"],
      // npm does not pass signals on, so its whole group is ended.
      detached: true,
    });
    this.#dev = dev;
    for (const stream of [dev.stdout, dev.stderr]) {
      stream.on("data", (text) => {
        this.output += text;
      });
    }
    await expect
      .poll(() => dev.exitCode !== null || /accepts connections on port/.test(this.output))
      .toBe(true);
    expect(this.output).toMatch(/accepts connections on port/);
  }

  /** Runs the production build until {@link remove}, beside {@link dev}. @returns its URL */
  async production(): Promise<string> {
    const port = await freePort();
    const env = {
      ...this.#env,
      ...{
        PORT: String(port),
        NODE_ENV: "production",
        SESSION_SECRET: "secret",
        BETTER_AUTH_SECRET: "s".repeat(32),
      },
    };
    const server = spawn("npm", ["start"], {
      cwd: this.folder,
      env: commandEnv({ cwd: this.folder, env }),
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    this.#production = server;
    for (const stream of [server.stdout, server.stderr]) {
      stream.on("data", (text) => {
        this.output += text;
      });
    }
    const url = `http://localhost:${port}`;
    await expect
      .poll(
        () =>
          server.exitCode ??
          fetch(url).then(
            ({ status }) => status,
            () => 0,
          ),
      )
      .toBe(200);
    return url;
  }

  async remove(): Promise<void> {
    const production = this.#production;
    if (production?.pid !== undefined && production.exitCode === null)
      process.kill(-production.pid, "SIGKILL");
    const dev = this.#dev;
    if (dev?.pid !== undefined && dev.exitCode === null && dev.signalCode === null) {
      const ended = once(dev, "exit");
      process.kill(-dev.pid, "SIGINT");
      await ended;
    }
    const [, data] = /^database .* data in (.+)$/m.exec(this.output) ?? [];
    for (const folder of [resolve(this.folder, ".."), ...(data === undefined ? [] : [data])]) {
      await rm(folder, { recursive: true, force: true });
    }
  }
}
