import { existsSync, type Stats } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type FSWatcher, watch } from "chokidar";
import { ManagedProcess, type ProcessOptions } from "./managed-process.ts";

/** Time that further changes are waited for, in milliseconds. Tools often write several files. */
const SETTLE_MS = 50;

/** The options of {@link WatchedProcess}. */
export interface WatchedOptions extends ProcessOptions {
  /** Called before the process restarts because a file changed. */
  readonly onRestart?: () => void;
}

/**
 * A process of Node.js that restarts when a file that it loaded changes, also if it has ended.
 *
 * `node --watch` does the same, but on Linux it loses each file that an editor replaces instead of
 * writing to it. Node.js reports the loaded files as it does for `node --watch`. Packages in
 * `node_modules` are not watched.
 */
export class WatchedProcess extends ManagedProcess {
  readonly #files = new Set<string>();
  /** Files whose first event has not arrived. It reports the file itself, and not a change. */
  readonly #added = new Set<string>();
  readonly #watcher: FSWatcher;
  readonly #onRestart: () => void;
  readonly #entries: readonly string[];
  #startedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ onRestart = () => undefined, ...options }: WatchedOptions) {
    super({
      ...options,
      env: { ...options.env, WATCH_REPORT_DEPENDENCIES: "1" },
      onMessage: (message) => this.#watch(filesOf(message)),
    });
    this.#onRestart = onRestart;
    this.#entries = options.command.slice(1).map((word) => resolve(word));
    this.#watcher = watch([], { persistent: false })
      .on("add", (file, stats) => this.#onAdd(file, stats))
      .on("change", () => this.#restartSoon())
      // A file that cannot be watched does not end the process.
      .on("error", () => undefined);
  }

  override async start(): Promise<void> {
    this.#startedAt = Date.now();
    this.#watch(this.#entries.filter((file) => existsSync(file)));
    await super.start();
  }

  override async restart(): Promise<void> {
    clearTimeout(this.#timer);
    this.#startedAt = Date.now();
    await super.restart();
  }

  override async stop(): Promise<void> {
    this.#close();
    await super.stop();
  }

  override kill(): void {
    this.#close();
    super.kill();
  }

  #close(): void {
    clearTimeout(this.#timer);
    void this.#watcher.close();
  }

  #watch(files: readonly string[]): void {
    for (const file of files) {
      if (this.#files.has(file) || /[\\/]node_modules[\\/]/.test(file)) continue;
      this.#files.add(file);
      this.#added.add(file);
      this.#watcher.add(file);
    }
  }

  #onAdd(file: string, stats: Stats | undefined): void {
    const isFirst = this.#added.delete(file);
    // The file can change after the process has read it, and before it is watched.
    if (!isFirst || (stats?.mtimeMs ?? 0) > this.#startedAt) this.#restartSoon();
  }

  #restartSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#onRestart();
      // The program exists, because it was started before.
      void this.restart().catch(() => undefined);
    }, SETTLE_MS);
  }
}

/** Returns the paths of loaded files in a message of Node.js to `node --watch`. */
function filesOf(message: unknown): readonly string[] {
  const { "watch:require": required, "watch:import": imported } = (message ?? {}) as Readonly<
    Record<string, unknown>
  >;
  return [
    ...textsOf(required),
    ...textsOf(imported)
      .filter((url) => url.startsWith("file:"))
      .map((url) => fileURLToPath(url)),
  ];
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
}
