import type { Database } from "../database.ts";
import type { ConnectionActivity } from "../stores/connections.ts";

/** A row of the values of the statement. */
interface ActivityRow {
  id: string;
  messages: number;
  age_ms: number;
}

/**
 * Records messages in one statement. See `ConnectionStore.recordActivity`.
 *
 * It writes ages instead of times, because times are those of the database clock.
 */
export async function recordActivity(
  database: Database,
  connections: readonly ConnectionActivity[],
): Promise<void> {
  const { now, sql } = database;
  await database.execute((db) => {
    const rows = connections.map(
      ({ id, count, ageMs }) =>
        sql`(cast(${id} as text), cast(${count} as integer), cast(${ageMs} as bigint))`,
    );
    return db
      .with("gathered(id, messages, age_ms)", () => sql<ActivityRow>`(values ${sql.join(rows)})`)
      .updateTable("sallyport_connections")
      .from("gathered")
      .set(({ eb, ref }) => {
        const at = eb(now, "-", ref("gathered.age_ms"));
        const last = ref("sallyport_connections.last_seen_at");
        return {
          last_seen_at: eb.case().when(at, ">", last).then(at).else(last).end(),
          request_count: eb("sallyport_connections.request_count", "+", ref("gathered.messages")),
        };
      })
      .whereRef("sallyport_connections.id", "=", "gathered.id")
      .execute();
  });
}
