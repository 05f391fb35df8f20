import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Readable } from "node:stream";
import { expect } from "vitest";
import { bin } from "./command-line.ts";

/** A running `sallyport dev`, and what it has printed. */
export class DevProcess {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly exited: Promise<number | null>;
  #hasExited = false;
  out = "";
  err = "";

  /** @param cwd folder of the app */
  constructor(cwd: string, args: readonly string[], variables: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(process.execPath, [bin, "dev", ...args], {
      cwd,
      env: { ...process.env, PORT: "", ...variables },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.stdout.on("data", (text) => {
      this.out += text;
    });
    this.#child.stderr.on("data", (text) => {
      this.err += text;
    });
    this.exited = once(this.#child, "exit").then(([code]) => {
      this.#hasExited = true;
      return code as number | null;
    });
  }

  /** Resolves when the output contains the words. @throws if the process ends before that */
  async printed(words: RegExp): Promise<void> {
    const text = () => `${this.out}\n${this.err}`;
    await expect.poll(() => this.#hasExited || words.test(text())).toBe(true);
    expect(text()).toMatch(words);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async end(): Promise<number | null> {
    this.signal("SIGINT");
    return this.exited;
  }
}

/** Returns a port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
