import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import type { EndedSessions } from "../auth/ended-sessions.ts";
import { numberOption, optionsOf, parseOptions } from "../options.ts";
import type { AdminServices } from "../services.ts";

/** Options of `cleanup()`: how long old rows are kept. */
export interface CleanupOptions {
  /**
   * How long rows of connections are kept after they connected, in hours. Default 24, at least 3,
   * because a connection can last two hours.
   */
  readonly keepConnectionHours?: number | undefined;
  /** How long entries of the audit log are kept, in days. At least 30. Default: forever. */
  readonly keepAuditDays?: number | undefined;
}

/** The number of rows that a cleanup removed, per table. */
export interface CleanupResult {
  readonly connections: number;
  readonly tokens: number;
  /** Records of sessions that `endSession()` has ended. */
  readonly endedSessions: number;
  /** Expired windows of rate limits. */
  readonly counters: number;
  readonly decisions: number;
  readonly audit: number;
}

/** Maximum number of rows per statement. It takes a few milliseconds, in which others can wait. */
const BATCH = 1000;
/** Maximum pause between two statements, in milliseconds. */
const MAX_PAUSE_MS = 250;

/** How long rows of connections are kept after they connected, in hours. */
export const KEEP_CONNECTION_HOURS = 24;

const HOUR_MS = 3_600_000;

const CLEANUP_OPTIONS = optionsOf<CleanupOptions>()({
  keepConnectionHours: v.optional(
    numberOption(
      3,
      Number.MAX_SAFE_INTEGER,
      "a number of hours of at least 3, since a connection can last two hours",
    ),
    KEEP_CONNECTION_HOURS,
  ),
  keepAuditDays: v.optional(numberOption(30, Number.MAX_SAFE_INTEGER, "a number of days of at least 30")),
});

/**
 * Removes old rows: closed connections, expired tokens and rate-limit
 * windows, old decisions.
 *
 * Rows are removed in small batches. Each pause is as long as the statement before it, so the
 * cleanup can run under load. Several calls can run concurrently.
 *
 * @returns the number of removed rows per table
 * @throws ConfigurationError if an option is invalid
 */
export async function cleanup(
  services: AdminServices,
  endedSessions: EndedSessions,
  options: CleanupOptions,
): Promise<CleanupResult> {
  const { keepConnectionHours: hours, keepAuditDays: days } = parseOptions(
    "cleanup()",
    CLEANUP_OPTIONS,
    options,
  );
  // Not counted: serving processes remove these rows after a few minutes.
  await inBatches((limit) => services.store.changes.removeOld(limit));
  return {
    connections: await inBatches((limit) => services.store.connections.removeOlder(hours * HOUR_MS, limit)),
    tokens: await inBatches((limit) => services.store.tokens.removeExpired(limit)),
    endedSessions: await inBatches((limit) => endedSessions.removeOld(limit)),
    counters: await inBatches((limit) => services.store.limits.removeEnded(limit)),
    decisions: await removedRows(services.reports.decisionLog.removeOld()),
    audit:
      days === undefined
        ? 0
        : await inBatches((limit) => services.store.audit.removeOlder(days * 24 * HOUR_MS, limit)),
  };
}

async function inBatches(remove: (limit: number) => Promise<number>): Promise<number> {
  // A concurrent cleanup can remove some rows of a batch, so only an empty batch is the last one.
  return removedRows(
    (async function* () {
      for (let removed = 1; removed > 0; ) {
        removed = await remove(BATCH);
        yield removed;
      }
    })(),
  );
}

/** Runs a removal to its end, with a pause after each step. Returns the number of removed rows. */
async function removedRows(steps: AsyncGenerator<number>): Promise<number> {
  for (let total = 0; ; ) {
    const startedAt = performance.now();
    const { done, value } = await steps.next();
    if (done) return total;
    total += value;
    await sleep(Math.min(MAX_PAUSE_MS, performance.now() - startedAt));
  }
}
