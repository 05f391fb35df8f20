import type { Kysely } from "kysely";
import { ConfigurationError } from "../../errors.ts";
import type { Database, Tables } from "../../storage/database.ts";

/**
 * The duration of a lease after its last renewal, and the interval of renewals, in milliseconds.
 */
const LEASE_MS = 60_000;
const RENEW_EVERY_MS = 15_000;

/**
 * Performs work under a lease, so that one run at a time provisions a gateway. Two concurrent runs
 * would create two APIs, because AWS does not require different names.
 *
 * @param work must call `renew` before each change. `renew` throws a ConfigurationError if this run
 *   paused and another one has taken over the lease.
 * @throws ConfigurationError if another run is in progress
 */
export async function withLease<Result>(
  database: Database,
  name: string,
  work: (renew: () => Promise<void>) => Promise<Result>,
): Promise<Result> {
  const key = `provisioning:${name}`;
  const owner = Math.floor(Math.random() * 2 ** 31);
  await database.transaction(async (db) => {
    const holder = await holderOf(database, db, key);
    if (holder) {
      throw new ConfigurationError(
        `Another run provisions gateway "${name}" now, or was interrupted ${Math.ceil(holder.ageMs / 1000)} s ago. Try again in ${Math.ceil((LEASE_MS - holder.ageMs) / 1000)} s.`,
      );
    }
    const values = { key, window_started_at: database.now, count: owner };
    await db
      .insertInto("sallyport_counters")
      .values(values)
      .onConflict((conflict) => conflict.column("key").doUpdateSet(values))
      .execute();
  });
  const renew = () =>
    database.transaction(async (db) => {
      const { numUpdatedRows } = await db
        .updateTable("sallyport_counters")
        .set({ window_started_at: database.now })
        .where("key", "=", key)
        .where("count", "=", owner)
        .executeTakeFirst();
      if (numUpdatedRows === 0n)
        throw new ConfigurationError(
          `Another run provisions gateway "${name}" now, because this one did not renew its lease in time. Wait until the other run ends, and run the command again.`,
        );
    });
  // Also renewed during waits. If this fails, the renewal before the next change reports it.
  const renewal = setInterval(() => void renew().catch(() => undefined), RENEW_EVERY_MS);
  renewal.unref();
  try {
    return await work(renew);
  } finally {
    clearInterval(renewal);
    // The lease expires by itself, so a failure here must not replace the result of the work.
    await database
      .transaction((db) =>
        db.deleteFrom("sallyport_counters").where("key", "=", key).where("count", "=", owner).execute(),
      )
      .catch(() => undefined);
  }
}

async function holderOf(
  database: Database,
  db: Kysely<Tables>,
  key: string,
): Promise<{ readonly ageMs: number } | undefined> {
  const row = await db
    .selectFrom("sallyport_counters")
    .select((eb) => eb(database.now, "-", eb.ref("window_started_at")).as("age"))
    .where("key", "=", key)
    .executeTakeFirst();
  // A lease in the future was taken before the clock was set back. Its holder renews it by the new
  // time.
  const ageMs = Math.abs(Number(row?.age));
  return row && ageMs < LEASE_MS ? { ageMs } : undefined;
}
