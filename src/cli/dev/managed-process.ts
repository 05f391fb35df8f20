import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { ConfigurationError } from "../../errors.ts";
import { spawnedCommand } from "./spawned-command.ts";

/** Time that a process has to end after SIGTERM, in milliseconds. */
const STOP_MS = 5_000;
/** Interval between two checks of a process, in milliseconds. */
const POLL_MS = 50;

/**
 * What happens with the output of a process:
 *
 * - `inherit`: it is printed.
 * - `stderr`: its stdout goes to stderr too, because stdout contains JSON only.
 * - a function, which is called with each line of stdout. Nothing is printed.
 */
export type ProcessOutput = "inherit" | "stderr" | ((line: string) => void);

/** The options of {@link ManagedProcess}. */
export interface ProcessOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Environment variables in addition to those of this process. */
  readonly env: Readonly<Record<string, string>>;
  readonly output: ProcessOutput;
  /** What to do if the program does not exist. */
  readonly advice: string;
  /** Called with each message that the process sends. Default: it cannot send messages. */
  readonly onMessage?: (message: unknown) => void;
  /** Called if the process ends by itself, with a description such as "exit code 1". */
  readonly onExit: (how: string) => void;
}

/** A process that can be restarted and stopped, with the processes that it starts. */
export class ManagedProcess {
  readonly #options: ProcessOptions;
  #child: ChildProcess | undefined;
  #isStopping = false;
  #hasEnded = false;
  /** Starts, restarts and stops run one after another. */
  #last: Promise<void> = Promise.resolve();

  constructor(options: ProcessOptions) {
    this.#options = options;
  }

  /** The command line, as it is run. */
  get commandLine(): string {
    return this.#options.command.join(" ");
  }

  /** @throws ConfigurationError if the program does not exist */
  start(): Promise<void> {
    return this.#inTurn(() => this.#start());
  }

  /** Stops the process and starts it again. @throws ConfigurationError as {@link start} */
  restart(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#stop();
      await this.#start();
    });
  }

  /** Ends the process and those that it started, after five seconds by force. It cannot be started again. */
  stop(): Promise<void> {
    this.#hasEnded = true;
    return this.#inTurn(() => this.#stop());
  }

  /** Ends the process and those that it started by force. It cannot be started again. */
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
    const { command, env, output, advice, onMessage, onExit } = this.#options;
    const { file, args, shell } = spawnedCommand(command);
    // A group of its own: Ctrl-C of the terminal does not reach it, and all of it can be ended.
    const child: ChildProcess = spawn(file, args, {
      env: { ...process.env, ...env },
      stdio: [...stdioOf(output), ...(onMessage ? ["ipc" as const] : [])],
      detached: process.platform !== "win32",
      shell,
    });
    if (onMessage) child.on("message", onMessage);
    if (typeof output === "function" && child.stdout) {
      createInterface({ input: child.stdout }).on("line", (line) => {
        // A process that is being replaced can still write lines.
        if (this.#child === child && !this.#isStopping) output(line);
      });
    }
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(notStarted(this.commandLine, error, advice)));
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
    for (const since = performance.now(); isGroupAlive(child); await sleep(POLL_MS)) {
      if (performance.now() - since > STOP_MS) signalGroup(child, "SIGKILL");
    }
    this.#child = undefined;
    this.#isStopping = false;
  }
}

function stdioOf(output: ProcessOutput): ("ignore" | "pipe" | "inherit" | "ipc" | NodeJS.WriteStream)[] {
  if (typeof output === "function") return ["ignore", "pipe", "ignore"];
  return ["ignore", output === "stderr" ? process.stderr : "inherit", "inherit"];
}

function notStarted(commandLine: string, error: Error, advice: string): ConfigurationError {
  return new ConfigurationError(`"${commandLine}" cannot be run: ${error.message}. ${advice}`);
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
