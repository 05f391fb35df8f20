import { type ChildProcess, fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Deployed, FunctionHost } from "../control-plane/deployed-functions.ts";

interface Result {
  readonly payload: string;
  readonly hasFailed: boolean;
}

/** Runs deployed functions as Lambda does: the archive is extracted, and each function is a process. */
export class FunctionProcesses implements FunctionHost {
  /** The URL that a function receives. */
  url = "";
  readonly #folder: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #processes = new Map<string, ChildProcess>();
  readonly #waiting = new Map<number, (result: Result) => void>();
  #invocations = 0;

  constructor(folder: string, environment: Readonly<Record<string, string>>) {
    this.#folder = folder;
    this.#environment = environment;
  }

  async start({ name, code, variables }: Deployed): Promise<void> {
    const folder = join(this.#folder, name);
    await mkdir(join(folder, "tmp"), { recursive: true });
    await writeFile(join(folder, "code.zip"), code);
    const { status, stderr } = spawnSync("unzip", ["-q", "code.zip"], { cwd: folder, encoding: "utf8" });
    if (status !== 0) throw new Error(`The archive cannot be extracted: ${stderr}`);
    const env = { ...this.#environment, ...variables, TMPDIR: join(folder, "tmp") };
    const runner = join(import.meta.dirname, "function-runner.mjs");
    const child = fork(runner, [join(folder, "index.mjs")], { cwd: folder, env, execArgv: [] });
    await once(child, "message");
    child.on("message", (message: Result & { readonly id: number }) => {
      this.#waiting.get(message.id)?.(message);
      this.#waiting.delete(message.id);
    });
    this.#processes.set(name, child);
  }

  invoke(name: string, payload: string): Promise<Result> {
    const id = ++this.#invocations;
    return new Promise((resolve, reject) => {
      const child = this.#processes.get(name);
      if (!child) return reject(new Error(`The function ${name} does not run.`));
      this.#waiting.set(id, resolve);
      child.send({ id, event: JSON.parse(payload) });
    });
  }

  /** Invokes a function with an event. @throws Error if the function fails */
  async call(name: string, event: unknown): Promise<unknown> {
    const { payload, hasFailed } = await this.invoke(name, JSON.stringify(event));
    if (hasFailed) throw new Error(payload);
    return JSON.parse(payload);
  }

  stop(name: string): void {
    this.#processes.get(name)?.kill("SIGKILL");
    this.#processes.delete(name);
  }

  /** The names of the functions that run. */
  get names(): readonly string[] {
    return [...this.#processes.keys()];
  }

  stopAll(): void {
    for (const name of this.names) this.stop(name);
  }
}
