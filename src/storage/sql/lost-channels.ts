import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { ConnectionSelector } from "../stores/connections.ts";
import type { ConnectionWithLostChannels, LostChannel, LostChannelStore } from "../stores/lost-channels.ts";
import { type RevocationTarget, selectorOf } from "../stores/revocations.ts";
import type { SqlConnections } from "./connections.ts";

/** {@link LostChannelStore} in SQL. */
export class SqlLostChannels implements LostChannelStore {
  readonly #database: Database;
  readonly #connections: SqlConnections;

  constructor(database: Database, connections: SqlConnections) {
    this.#database = database;
    this.#connections = connections;
  }

  /** Returns whether a connection that a change affects has lost a channel. */
  async exist(
    db: Kysely<Tables>,
    target: Exclude<RevocationTarget, { readonly scope: "users" }>,
  ): Promise<boolean> {
    // Usually the table is empty, and nothing else is read.
    const any = await db.selectFrom("sallyport_lost_channels").select("channel").limit(1).executeTakeFirst();
    if (!any) return false;
    const subject = "subject" in target ? target.subject : "";
    const selector = selectorOf({ id: "", scope: target.scope, subject });
    return (await this.#connections.pageWithLostChannels(db, selector, "", 1)).length > 0;
  }

  page(selector: ConnectionSelector, after: string): Promise<readonly ConnectionWithLostChannels[]> {
    return this.#connections.pageWithLostChannels(this.#database.db, selector, after);
  }

  async claim({ connectionKey, channel }: LostChannel, revocationId: string): Promise<boolean> {
    const claimed = await this.#database.execute((db) =>
      db
        .updateTable("sallyport_lost_channels")
        .set({ revocation_id: revocationId })
        .where("connection_key", "=", connectionKey)
        .where("channel", "=", channel)
        .where((eb) => eb.or([eb("revocation_id", "is", null), eb("revocation_id", "=", revocationId)]))
        .returning("channel")
        .execute(),
    );
    return claimed.length > 0;
  }

  async release({ connectionKey, channel }: LostChannel, revocationId: string): Promise<void> {
    await this.#database.execute((db) =>
      db
        .updateTable("sallyport_lost_channels")
        .set({ revocation_id: null })
        .where("connection_key", "=", connectionKey)
        .where("channel", "=", channel)
        .where("revocation_id", "=", revocationId)
        .execute(),
    );
  }

  async remove({ connectionKey, channel }: LostChannel, revocationId: string): Promise<void> {
    await this.#database.execute((db) =>
      db
        .deleteFrom("sallyport_lost_channels")
        .where("connection_key", "=", connectionKey)
        .where("channel", "=", channel)
        .where("revocation_id", "=", revocationId)
        .execute(),
    );
  }
}
