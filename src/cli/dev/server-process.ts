import { type ChildProcess, spawn } from "node:child_process";
import { createConnection } from "node:net";
import { ConfigurationError } from "../../errors.ts";

/** Time that the server has to end after SIGTERM, in milliseconds. */
const STOP_MS = 5_000;
/** Interval between two attempts to connect to the server, in milliseconds. */
const CONNECT_EVERY_MS = 100;

/** The server of the app, as a process of its own. */
export class ServerProcess {
  readonly #command: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #onExit: (how: string) => void;
  #child: ChildProcess | undefined;
  #isStopping = false;

  /**
   * @param command the program and its arguments
   * @param env environment variables in addition to those of this process
   * @param onExit called if the process ends by itself, with a description such as "exit code 1"
   */
  constructor(
    command: readonly string[],
    env: Readonly<Record<string, string>>,
    onExit: (how: string) => void,
  ) {
    this.#command = withReload(command);
    this.#env = { ...process.env, ...env };
    this.#onExit = onExit;
  }

  /** The command line, as it is run. */
  get commandLine(): string {
    return this.#command.join(" ");
  }

  /** @throws ConfigurationError if the program does not exist */
  async start(): Promise<void> {
    const [program = "", ...args] = this.#command;
    // The process has its own group, so that Ctrl-C reaches it once, and its children end with it.
    const child = spawn(program, args, {
      env: this.#env,
      stdio: ["ignore", "inherit", "inherit"],
      detached: process.platform !== "win32",
      shell: process.platform === "win32",
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) =>
        reject(
          new ConfigurationError(
            `The server command "${this.commandLine}" cannot be run: ${error.message}. Check the command after --.`,
          ),
        ),
      );
    });
    this.#child = child;
    child.once("exit", (code, signal) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      // Processes that the server started can still run.
      signalGroup(child, "SIGTERM");
      if (!this.#isStopping) this.#onExit(signal === null ? `exit code ${code}` : signal);
    });
  }

  /** Ends the process and its children at once, by force. */
  kill(): void {
    const child = this.#child;
    this.#child = undefined;
    if (child) signalGroup(child, "SIGKILL");
  }

  /** Ends the process and its children, after at most {@link STOP_MS} by force. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#isStopping = true;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    signalGroup(child, "SIGTERM");
    const timer = setTimeout(() => signalGroup(child, "SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(timer);
    this.#isStopping = false;
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined && process.platform !== "win32") process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch {
    // The group has ended.
  }
}

/** Programs that run a file of the app and have a mode that restarts it, with the argument of it. */
const RELOAD: Readonly<Record<string, string>> = { node: "--watch", tsx: "watch", bun: "--watch" };

/** Returns the command with the argument that restarts the server when one of its files changes. */
function withReload(command: readonly string[]): readonly string[] {
  const [program = "", ...args] = command;
  const argument = RELOAD[program];
  if (argument === undefined || args.some((arg) => /^(?:--)?watch\b/.test(arg))) return command;
  return [program, argument, ...args];
}

/** Resolves with true when a server accepts connections, or with false after `stop` was aborted. */
export async function acceptsConnections(port: number, stop: AbortSignal): Promise<boolean> {
  while (!stop.aborted) {
    if (await canConnect(port)) return true;
    await new Promise((resolve) => setTimeout(resolve, CONNECT_EVERY_MS));
  }
  return false;
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "localhost" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
