import type { Kysely } from "kysely";
import type { Database, Tables } from "../storage/database.ts";

/** Which sessions are in which channels. Being in a channel proves nothing: every delivery asks again. */
export class Memberships {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Joins, or joins again: the channel becomes the one that was joined last. The caller's transaction excludes other joins of the
   * connection, since on PostgreSQL two of them do not see each other's rows.
   *
   * @param max channels that the connection can be in, this one included. Default: any number
   * @returns false if it is in that many others already
   */
  async join(
    db: Kysely<Tables>,
    sessionId: string,
    channel: string,
    max = Number.MAX_SAFE_INTEGER,
  ): Promise<boolean> {
    const { now, sql } = this.#database;
    const joined = db
      .selectFrom("sallyport_memberships as member")
      .where("member.session_id", "=", sql<string>`cast(${sessionId} as text)`);
    const last = joined.select(({ fn }) => fn.max("member.joined_at").as("last"));
    const others = joined
      .select(({ fn }) => fn.countAll<number>().as("others"))
      .where("member.channel", "!=", sql<string>`cast(${channel} as text)`);
    // Two joins within a millisecond still have an order.
    const joinedAt = sql<number>`case when ${last} >= ${now} then ${last} + 1 else ${now} end`;
    const { numInsertedOrUpdatedRows } = await db
      .insertInto("sallyport_memberships")
      .columns(["session_id", "channel", "joined_at"])
      .expression(
        db
          .selectNoFrom([
            sql<string>`cast(${sessionId} as text)`.as("session_id"),
            sql<string>`cast(${channel} as text)`.as("channel"),
            joinedAt.as("joined_at"),
          ])
          .where(sql<boolean>`${others} < cast(${max} as bigint)`),
      )
      .onConflict((conflict) =>
        conflict
          .columns(["session_id", "channel"])
          .doUpdateSet({ joined_at: ({ ref }) => ref("excluded.joined_at") }),
      )
      .executeTakeFirst();
    return (numInsertedOrUpdatedRows ?? 0n) > 0n;
  }

  async isIn(sessionId: string, channel: string): Promise<boolean> {
    const row = await this.#database.db
      .selectFrom("sallyport_memberships")
      .select("session_id")
      .where("session_id", "=", sessionId)
      .where("channel", "=", channel)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** @returns whether it was joined */
  async leave(db: Kysely<Tables>, sessionId: string, channel: string): Promise<boolean> {
    const { numDeletedRows } = await db
      .deleteFrom("sallyport_memberships")
      .where("session_id", "=", sessionId)
      .where("channel", "=", channel)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /** Many at once, in one transaction. @returns those that were joined: of two racing calls one gets each */
  async leaveMany<Left extends { readonly session: { readonly id: string }; readonly channel: string }>(
    leaving: readonly Left[],
  ): Promise<readonly Left[]> {
    if (leaving.length === 0) return [];
    // In one order, whoever else names some of them too: otherwise each could wait for the other.
    const inOrder = [...leaving].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    return this.#database.writeBeside(async (db) => {
      const left: Left[] = [];
      for (const one of inOrder) if (await this.leave(db, one.session.id, one.channel)) left.push(one);
      return left;
    });
  }
}

function keyOf({
  session,
  channel,
}: {
  readonly session: { readonly id: string };
  readonly channel: string;
}): string {
  return `${session.id} ${channel}`;
}
