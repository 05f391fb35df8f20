import type { DecisionKey, DecisionPosition, DecisionStore } from "../storage/stores/decisions.ts";

/** The maximum number of rows that one statement counts or skips. It takes about 1 ms. */
const ROWS_PER_READ = 1000;
/** The maximum number of rows that one statement removes. It takes a few milliseconds. */
const ROWS_PER_REMOVAL = 50;

/** The decisions that a user loses. */
interface Surplus {
  readonly userId: string | null;
  /** The number of newest decisions that the user keeps. */
  readonly kept: number;
  /** The maximum number of decisions to remove. */
  readonly count: number;
}

/**
 * Removes old decisions. Then, if there are more than `maxRows`, it removes the oldest decisions of
 * the users with the most. Users with few decisions keep them. Clients without a user count as one
 * user.
 *
 * Each step runs one or two statements that read or remove a limited number of rows, because a
 * statement on SQLite blocks the event loop. The caller decides when the next step runs. Several
 * processes can run it concurrently.
 *
 * @param options.until decisions at or before this time are old, in epoch milliseconds
 * @returns the number of rows that each step removed, which can be 0
 */
export async function* sweepDecisions(
  store: DecisionStore,
  { until, maxRows }: { readonly until: number; readonly maxRows: number },
): AsyncGenerator<number, void, undefined> {
  for (let removed = 1; removed > 0; ) {
    removed = await store.removeUntil(until, ROWS_PER_REMOVAL);
    yield removed;
  }
  const counts = new Map<string | null, number>();
  let end: DecisionPosition | undefined;
  do {
    const page = await store.countByUser(end, ROWS_PER_READ);
    for (const { userId, count } of page.counts) counts.set(userId, (counts.get(userId) ?? 0) + count);
    end = page.end;
    yield 0;
  } while (end);
  yield* removeSurplus(store, surplusOf(counts, maxRows));
}

async function* removeSurplus(
  store: DecisionStore,
  surplus: readonly Surplus[],
): AsyncGenerator<number, void, undefined> {
  const references: string[] = [];
  for (const user of surplus) {
    for await (const keys of surplusKeys(store, user)) {
      references.push(...keys.map(({ reference }) => reference));
      yield references.length < ROWS_PER_REMOVAL
        ? 0
        : await store.remove(references.splice(0, ROWS_PER_REMOVAL));
    }
  }
  if (references.length > 0) yield await store.remove(references);
}

/**
 * Returns the decisions that a user loses, in pages, and empty pages while it reads.
 *
 * The decisions that a user keeps are found from the newest one on. So several sweeps at the same
 * time remove the same decisions.
 */
async function* surplusKeys(
  store: DecisionStore,
  { userId, kept, count }: Surplus,
): AsyncGenerator<readonly DecisionKey[], void, undefined> {
  let before: DecisionKey | undefined;
  for (let left = kept; left > 0; left -= ROWS_PER_READ) {
    before = await store.positionOf(userId, before, Math.min(left, ROWS_PER_READ));
    // Another process has removed the surplus of this user.
    if (!before) return;
    yield [];
  }
  let after: DecisionKey | undefined;
  for (let left = count; left > 0; left -= ROWS_PER_REMOVAL) {
    const keys = await store.keysOf(userId, { after, before }, Math.min(left, ROWS_PER_REMOVAL));
    yield keys;
    if (keys.length < ROWS_PER_REMOVAL) return;
    after = keys.at(-1);
  }
}

/**
 * Returns what each user loses so that `maxRows` decisions are left. Only users with the most
 * decisions lose any.
 */
function surplusOf(counts: ReadonlyMap<string | null, number>, maxRows: number): readonly Surplus[] {
  const sizes = [...counts.values()].sort((a, b) => b - a);
  const surplus = sizes.reduce((sum, count) => sum + count, 0) - maxRows;
  if (surplus <= 0) return [];
  const share = fairShare(sizes, surplus);
  const above = [...counts].filter(([, count]) => count > share);
  // In the order of ids, so that another process at the same time chooses the same users.
  above.sort(([a], [b]) => ((a ?? "") < (b ?? "") ? -1 : 1));
  let remainder = above.reduce((sum, [, count]) => sum + count - share, 0) - surplus;
  return above.map(([userId, count]) => {
    const kept = remainder-- > 0 ? share + 1 : share;
    return { userId, kept, count: count - kept };
  });
}

/**
 * Returns how many rows each user can keep. The users with more rows lose `surplus` rows in total.
 *
 * @param counts the number of rows of each user, largest first
 */
export function fairShare(counts: readonly number[], surplus: number): number {
  let [sum, users] = [0, 0];
  for (const [index, count] of counts.entries()) {
    sum += count;
    users = index + 1;
    // The users so far can lose the surplus and still have as many rows as the next user.
    if (sum - users * (counts[users] ?? 0) >= surplus) break;
  }
  return Math.max(0, Math.floor((sum - surplus) / users));
}
