import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { ConnectionSelector } from "../stores/connections.ts";
import type { ConnectionWithLostChannels, LostChannelStore } from "../stores/lost-channels.ts";
import type { SqlConnections } from "./connections.ts";

/** {@link LostChannelStore} in SQL. */
export class SqlLostChannels implements LostChannelStore {
  readonly #database: Database;
  readonly #connections: SqlConnections;

  constructor(database: Database, connections: SqlConnections) {
    this.#database = database;
    this.#connections = connections;
  }

  /** Returns whether any open connection has lost a channel, in the transaction of the caller. */
  async exist(db: Kysely<Tables>): Promise<boolean> {
    const row = await db
      .selectFrom("sallyport_lost_channels as lost")
      .innerJoin("sallyport_connections as c", "c.id", "lost.connection_key")
      .select("lost.channel")
      .where("c.closed_at", "is", null)
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  async page(selector: ConnectionSelector, after: string): Promise<readonly ConnectionWithLostChannels[]> {
    const { db } = this.#database;
    const connections = await this.#connections.pageWithLostChannels(selector, after);
    if (connections.length === 0) return [];
    const keys = connections.map(({ id }) => id);
    const rows = await db
      .selectFrom("sallyport_lost_channels")
      .select(["connection_key", "channel"])
      .where("connection_key", "in", keys)
      .orderBy("channel")
      .execute();
    const lost = new Map<string, string[]>(keys.map((key) => [key, []]));
    for (const { connection_key, channel } of rows) lost.get(connection_key)?.push(channel);
    return connections.map((connection) => ({ ...connection, lostChannels: lost.get(connection.id) ?? [] }));
  }

  async remove(connectionKey: string, channels: readonly string[]): Promise<void> {
    if (channels.length === 0) return;
    await this.#database.execute((db) =>
      db
        .deleteFrom("sallyport_lost_channels")
        .where("connection_key", "=", connectionKey)
        .where("channel", "in", channels)
        .execute(),
    );
  }
}
