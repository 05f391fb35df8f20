import type { Kysely } from "kysely";
import { ConfigurationError } from "../../errors.ts";
import type { Database, Tables } from "../../storage/database.ts";

/** How long nobody else begins after the last sign of life, and how often one is given, in milliseconds. */
const LEASE_MS = 60_000;
const RENEW_EVERY_MS = 15_000;

/**
 * One run at a time provisions a gateway: two at once would make two APIs, whose names need not differ.
 *
 * @param work calls `renew` before each change, which throws where another run has taken over because this one stood still
 * @throws ConfigurationError when another run is under way
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
        `Another run provisions gateway "${name}" now, or was cut off ${Math.ceil(holder.ageMs / 1000)} s ago. Try again in ${Math.ceil((LEASE_MS - holder.ageMs) / 1000)} s.`,
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
        throw new ConfigurationError(`Another run provisions gateway "${name}" now; this one was too slow.`);
    });
  // Waiting is a sign of life too. Where this fails, the next change does.
  const alive = setInterval(() => void renew().catch(() => undefined), RENEW_EVERY_MS);
  alive.unref();
  try {
    return await work(renew);
  } finally {
    clearInterval(alive);
    // It is over by itself in a while; what the work came to is worth more than this.
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
  // A lease that begins in the future was taken before the clock was set back. Who holds it renews it by the new time.
  const ageMs = Math.abs(Number(row?.age));
  return row && ageMs < LEASE_MS ? { ageMs } : undefined;
}
