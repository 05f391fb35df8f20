import { ConfigurationError } from "../errors.ts";
import type { ClockedDatabase } from "../storage/sql/clocked-database.ts";

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** The clock of a test database. It runs normally, and can be advanced. */
export class TestClock {
  readonly #database: ClockedDatabase;
  readonly #onAdvance: () => Promise<unknown>;

  /** @param onAdvance called after the clock was advanced, to apply expired grants */
  constructor(database: ClockedDatabase, onAdvance: () => Promise<unknown>) {
    this.#database = database;
    this.#onAdvance = onAdvance;
  }

  /** Returns the current time of the database in epoch milliseconds, for example for `until`. */
  now(): Promise<number> {
    return this.#database.store.now();
  }

  /**
   * Advances the clock, and applies the result to open connections: expired grants, and connections
   * that are too old.
   *
   * @param by milliseconds, or a text such as `90s`, `30m`, `2h` or `7d`
   * @throws ConfigurationError if the time is invalid or negative
   */
  async advance(by: number | string): Promise<void> {
    await this.#database.advance(milliseconds(by));
    await this.#onAdvance();
  }
}

function milliseconds(by: number | string): number {
  const [, digits, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(String(by)) ?? [];
  const value = typeof by === "number" ? by : Number(digits) * UNIT_MS[unit as keyof typeof UNIT_MS];
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new ConfigurationError(
    `advance(): the time ${JSON.stringify(by)} is invalid. Pass milliseconds, or a text such as "90s", "30m", "2h" or "7d".`,
  );
}
