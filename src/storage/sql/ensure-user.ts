import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";

/** Creates the row of a user. An existing row stays unchanged. */
export async function ensureUser(
  { now }: Pick<Database, "now">,
  db: Kysely<Tables>,
  userId: string,
): Promise<void> {
  await db
    .insertInto("sallyport_users")
    .values({ id: userId, is_active: 1, is_superuser: 0, created_at: now })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .execute();
}
