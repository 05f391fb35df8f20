import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import { numberOption, optionsOf, parseOptions } from "../options.ts";
import type { Services } from "../services.ts";

/** How long what has ended is kept. */
export interface CleanupOptions {
  /** Rows of sockets, after they connected. Default 24; at least 3, since a socket may live for two of them. */
  readonly keepSessionHours?: number | undefined;
  /** Entries of the audit. Default: for good; at least 30. */
  readonly keepAuditDays?: number | undefined;
}

/** What a cleanup removed. */
export interface CleanupResult {
  readonly connections: number;
  readonly tokens: number;
  /** Sessions that were ended with `endSession()` and are no longer remembered. */
  readonly endedSessions: number;
  /** Windows of limits that are over. */
  readonly counters: number;
  readonly decisions: number;
  readonly audit: number;
}

/** Rows that one statement removes: a few milliseconds, in which others wait at most. */
const BATCH = 1000;
/** Longest rest between two statements, in milliseconds. */
const REST_MS = 250;

/** How long rows of connections are kept after they connected, in hours. */
export const KEEP_SESSION_HOURS = 24;

const HOUR_MS = 3_600_000;

const CLEANUP_OPTIONS = optionsOf<CleanupOptions>()({
  keepSessionHours: v.optional(
    numberOption(
      3,
      Number.MAX_SAFE_INTEGER,
      "a number of hours of at least 3, since a connection can last two hours",
    ),
    KEEP_SESSION_HOURS,
  ),
  keepAuditDays: v.optional(numberOption(30, Number.MAX_SAFE_INTEGER, "a number of days of at least 30")),
});

/**
 * Removes rows that nobody can need any more: of sockets long gone, tokens that expired, windows that are over, decisions that are
 * too old. In small batches with rests as long as they took, so that it may run beside load, and several times at once.
 *
 * @throws ConfigurationError for options that cannot be
 */
export async function cleanup(services: Services, options: CleanupOptions): Promise<CleanupResult> {
  const { keepSessionHours: hours, keepAuditDays: days } = parseOptions(
    "cleanup()",
    CLEANUP_OPTIONS,
    options,
  );
  // Not counted, because serving processes remove these rows after a few minutes and operators do not need their number.
  await inBatches((limit) => services.changeLog.removeOld(limit));
  return {
    connections: await inBatches((limit) => services.connections.removeOlder(hours * HOUR_MS, limit)),
    tokens: await inBatches((limit) => services.tokens.removeExpired(limit)),
    endedSessions: await inBatches((limit) => services.endedSessions.removeOld(limit)),
    counters: await inBatches((limit) => services.rateLimits.removeOver(limit)),
    decisions: await inBatches((limit) => services.decisionLog.removeOld(limit)),
    audit:
      days === undefined
        ? 0
        : await inBatches((limit) => services.audit.removeOlder(days * 24 * HOUR_MS, limit)),
  };
}

async function inBatches(remove: (limit: number) => Promise<number>): Promise<number> {
  for (let total = 0; ; ) {
    const begun = performance.now();
    const removed = await remove(BATCH);
    total += removed;
    // Two at once may each find what the other removes, so only nothing at all is the end.
    if (removed === 0) return total;
    await sleep(Math.min(REST_MS, performance.now() - begun));
  }
}
