import type { Kysely } from "kysely";
import type { Database, Tables } from "../storage/database.ts";

/** Which sessions are in which channels. Being in a channel proves nothing: every delivery asks again. */
export class Memberships {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Joins, or joins anew: the channel becomes the one joined last. */
  async join(db: Kysely<Tables>, sessionId: string, channel: string): Promise<void> {
    const { now } = this.#database;
    // Two joins within a millisecond still have an order.
    const joinedAt = db
      .selectFrom("sallyport_memberships as member")
      .select(({ eb, fn }) => {
        const last = fn.max("member.joined_at");
        return eb
          .case()
          .when(last, ">=", now)
          .then(eb(last, "+", 1))
          .else(now)
          .end()
          .as("at");
      })
      .where("member.session_id", "=", sessionId);
    await db
      .insertInto("sallyport_memberships")
      .values({ session_id: sessionId, channel, joined_at: joinedAt })
      .onConflict((conflict) =>
        conflict.columns(["session_id", "channel"]).doUpdateSet({ joined_at: joinedAt }),
      )
      .execute();
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

  /** How many channels a session is in, a given one not counted. */
  async countOthers(db: Kysely<Tables>, sessionId: string, channel: string): Promise<number> {
    const row = await db
      .selectFrom("sallyport_memberships")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .where("session_id", "=", sessionId)
      .where("channel", "!=", channel)
      .executeTakeFirst();
    return Number(row?.count ?? 0);
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
