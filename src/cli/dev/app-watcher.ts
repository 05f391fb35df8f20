import { packageFile } from "../package-file.ts";
import { type MigrationOutcome, parseOutcome } from "./migration-outcome.ts";
import { WatchedProcess } from "./watched-process.ts";

/** Longest time that {@link AppWatcher.migrate} waits, in milliseconds. */
const WAIT_MS = 35_000;

/** The options of {@link AppWatcher}. */
export interface AppWatcherOptions {
  /** The value of `--app`, or undefined without it. */
  readonly app: string | undefined;
  /** Called after each migration. */
  readonly onOutcome: (outcome: MigrationOutcome) => void;
}

/** Migrates the database when a file of the app changes, in a process of its own. */
export class AppWatcher {
  readonly #process: WatchedProcess;
  #onNextOutcome: () => void = () => undefined;
  #isStopped = false;

  constructor({ app, onOutcome }: AppWatcherOptions) {
    const runner = packageFile("dist/cli/dev/migrate-runner.js");
    this.#process = new WatchedProcess({
      command: [process.execPath, runner, ...(app ? [app] : [])],
      env: {},
      advice: "Check the installation of Node.js.",
      // It ends after each migration.
      onExit: () => undefined,
      output: (line) => {
        const outcome = parseOutcome(line);
        if (!outcome) return;
        onOutcome(outcome);
        this.#onNextOutcome();
      },
    });
  }

  /** Migrates once, and then after each change. */
  start(): Promise<void> {
    return this.#process.start();
  }

  /** Migrates without a change. Resolves when it is done, at the latest after 35 seconds. */
  async migrate(): Promise<void> {
    const done = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, WAIT_MS).unref();
      this.#onNextOutcome = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    await this.#process.restart();
    if (!this.#isStopped) await done;
  }

  /** Ends the process. */
  stop(): Promise<void> {
    this.#isStopped = true;
    this.#onNextOutcome();
    return this.#process.stop();
  }

  /** Ends the process by force. */
  kill(): void {
    this.#process.kill();
  }
}
