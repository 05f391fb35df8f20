import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createConnection, createServer } from "node:net";
import { createInterface } from "node:readline";
import { ConfigurationError } from "../../errors.ts";
import { spawnedCommand } from "./spawned-command.ts";

/** Time that the server has to end after SIGTERM, in milliseconds. */
const STOP_MS = 5_000;
/** Interval between two looks at a process or port, in milliseconds. */
const LOOK_EVERY_MS = 50;

/** The options of {@link ServerProcess}. */
export interface ServerOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Environment variables in addition to those of this process. */
  readonly env: Readonly<Record<string, string>>;
  /** Whether stdout of the server goes to stderr, because stdout contains JSON only. */
  readonly isQuiet: boolean;
  /** Called with each line of stdout, which is then not printed. stderr is not printed either. */
  readonly onLine?: (line: string) => void;
  /** Called if the server ends by itself, with a description such as "exit code 1". */
  readonly onExit: (how: string) => void;
}

/** The server of the app: a process of its own, with the processes that it starts. */
export class ServerProcess {
  readonly #command: readonly string[];
  readonly #options: ServerOptions;
  #child: ChildProcess | undefined;
  #isStopping = false;
  #hasEnded = false;
  /** Starts, restarts and stops run one after another. */
  #last: Promise<void> = Promise.resolve();

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#command = withReload(options.command);
  }

  /** The command line, as it is run. */
  get commandLine(): string {
    return this.#command.join(" ");
  }

  /** @throws ConfigurationError if the program does not exist */
  start(): Promise<void> {
    return this.#inTurn(() => this.#start());
  }

  /** Stops the server and starts it again. @throws ConfigurationError as {@link start} */
  restart(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#stop();
      await this.#start();
    });
  }

  /** Ends the server and its processes, after five seconds by force. It cannot be started again. */
  stop(): Promise<void> {
    this.#hasEnded = true;
    return this.#inTurn(() => this.#stop());
  }

  /** Ends the server and its processes by force. It cannot be started again. */
  kill(): void {
    this.#hasEnded = true;
    if (this.#child) signalGroup(this.#child, "SIGKILL");
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #start(): Promise<void> {
    // A restart can have started it already.
    if (this.#hasEnded || this.#child) return;
    const { env, isQuiet, onLine, onExit } = this.#options;
    const { file, args, shell } = spawnedCommand(this.#command);
    // A group of its own: Ctrl-C of the terminal does not reach it, and all of it can be ended.
    const child = spawn(file, args, {
      env: { ...process.env, ...env },
      stdio: onLine
        ? ["ignore", "pipe", "ignore"]
        : ["ignore", isQuiet ? process.stderr : "inherit", "inherit"],
      detached: process.platform !== "win32",
      shell,
    });
    if (onLine && child.stdout) createInterface({ input: child.stdout }).on("line", onLine);
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(notStarted(this.commandLine, error)));
    });
    this.#child = child;
    if (this.#hasEnded) this.kill();
    child.once("exit", (code, signal) => {
      if (!this.#isStopping && !this.#hasEnded) onExit(signal === null ? `exit code ${code}` : signal);
    });
  }

  async #stop(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#isStopping = true;
    signalGroup(child, "SIGTERM");
    // The process can end before the processes that it started.
    for (const since = performance.now(); isGroupAlive(child); await sleep(LOOK_EVERY_MS)) {
      if (performance.now() - since > STOP_MS) signalGroup(child, "SIGKILL");
    }
    this.#child = undefined;
    this.#isStopping = false;
  }
}

function notStarted(commandLine: string, error: Error): ConfigurationError {
  return new ConfigurationError(
    `The server command "${commandLine}" cannot be run: ${error.message}. Check the command after --.`,
  );
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  if (process.platform === "win32") {
    spawnSync("taskkill", ["/pid", String(child.pid), "/T", "/F"]);
    return;
  }
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group has ended.
  }
}

function isGroupAlive(child: ChildProcess): boolean {
  if (child.pid === undefined) return false;
  if (process.platform === "win32") return child.exitCode === null && child.signalCode === null;
  try {
    return process.kill(-child.pid, 0);
  } catch {
    return false;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Programs with a mode that restarts a file when it changes, and the arguments of that mode. */
const RELOAD: Readonly<Record<string, readonly string[]>> = {
  node: ["--watch", "--watch-preserve-output"],
  tsx: ["watch", "--clear-screen=false"],
  bun: ["--watch", "--no-clear-screen"],
};

/** Returns the command with the arguments that restart the server when one of its files changes. */
export function withReload(command: readonly string[]): readonly string[] {
  const [program = "", ...args] = command;
  const reload = RELOAD[program];
  const [first = ""] = args;
  // Without a file there is nothing to watch, as in `node --eval`.
  if (!reload || args.length === 0 || /^(?:watch|--watch.*|-e|--eval|-p|--print)$/.test(first))
    return command;
  return [program, ...reload, ...args];
}

/** Resolves with true when a server accepts connections, or with false after `stop` was aborted. */
export async function acceptsConnections(port: number, stop: AbortSignal): Promise<boolean> {
  while (!stop.aborted) {
    if (await canConnect(port)) return true;
    await sleep(LOOK_EVERY_MS);
  }
  return false;
}

/** Returns a port on 127.0.0.1 that no program uses. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** Returns whether a program accepts connections on a port of this machine. */
export function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "localhost" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
