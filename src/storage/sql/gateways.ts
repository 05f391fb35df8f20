import { randomUUID } from "node:crypto";
import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { Gateway, GatewayStore } from "../stores/gateways.ts";

/** Stores the gateways, and the leases of provisioning as counters. */
export class SqlGateways implements GatewayStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async list(): Promise<readonly Gateway[]> {
    const rows = await this.#database.db
      .selectFrom("sallyport_gateways")
      .selectAll()
      .orderBy("name")
      .execute();
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      apiId: row.api_id,
      stage: row.stage,
      endpoint: row.endpoint,
      secretHashes: hashesOf(row),
      replies: row.replies,
    }));
  }

  register(
    { name, apiId, stage, endpoint, replies }: Omit<Gateway, "id" | "secretHashes">,
    acceptedHashes: (current: readonly string[]) => readonly string[] | undefined,
  ): Promise<string | undefined> {
    const now = Date.now();
    const fields = { api_id: apiId, stage, endpoint, replies, updated_at: now };
    return this.#database.transaction(async (db) => {
      const others = await db
        .selectFrom("sallyport_gateways")
        .select(["id", "name", "secret_hash", "previous_secret_hash"])
        .execute();
      const existing = others.find((row) => row.name === name);
      const hashes = acceptedHashes(existing ? hashesOf(existing) : []);
      const duplicate = others.find(
        (row) => row !== existing && hashesOf(row).some((hash) => hashes?.includes(hash)),
      );
      if (duplicate) return duplicate.name;
      const secrets = hashes === undefined ? {} : secretColumns(hashes);
      if (existing) {
        await db
          .updateTable("sallyport_gateways")
          .set({ ...fields, ...secrets })
          .where("id", "=", existing.id)
          .execute();
      } else {
        const row = { ...fields, ...secretColumns([]), ...secrets, id: randomUUID(), name, created_at: now };
        await db.insertInto("sallyport_gateways").values(row).execute();
      }
      return undefined;
    });
  }

  async accept(name: string, hashes: readonly string[]): Promise<void> {
    await this.#database.transaction((db) =>
      db
        .updateTable("sallyport_gateways")
        .set({ ...secretColumns(hashes), updated_at: Date.now() })
        .where("name", "=", name)
        .execute(),
    );
  }

  async remove(name: string): Promise<boolean> {
    const { numDeletedRows } = await this.#database.transaction((db) =>
      db.deleteFrom("sallyport_gateways").where("name", "=", name).executeTakeFirst(),
    );
    return numDeletedRows > 0n;
  }

  takeLease(gateway: string, owner: number, leaseMs: number): Promise<number | undefined> {
    const key = leaseKey(gateway);
    return this.#database.transaction(async (db) => {
      const ageMs = await this.#leaseAge(db, key);
      if (ageMs !== undefined && ageMs < leaseMs) return ageMs;
      const values = { key, window_started_at: this.#database.now, count: owner };
      await db
        .insertInto("sallyport_counters")
        .values(values)
        .onConflict((conflict) => conflict.column("key").doUpdateSet(values))
        .execute();
      return undefined;
    });
  }

  async renewLease(gateway: string, owner: number): Promise<boolean> {
    const { numUpdatedRows } = await this.#database.transaction((db) =>
      db
        .updateTable("sallyport_counters")
        .set({ window_started_at: this.#database.now })
        .where("key", "=", leaseKey(gateway))
        .where("count", "=", owner)
        .executeTakeFirst(),
    );
    return numUpdatedRows > 0n;
  }

  async endLease(gateway: string, owner: number): Promise<void> {
    await this.#database.transaction((db) =>
      db
        .deleteFrom("sallyport_counters")
        .where("key", "=", leaseKey(gateway))
        .where("count", "=", owner)
        .execute(),
    );
  }

  /** Returns the time since the last renewal of a lease in milliseconds, or undefined. */
  async #leaseAge(db: Kysely<Tables>, key: string): Promise<number | undefined> {
    const row = await db
      .selectFrom("sallyport_counters")
      .select((eb) => eb(this.#database.now, "-", eb.ref("window_started_at")).as("age"))
      .where("key", "=", key)
      .executeTakeFirst();
    // A lease in the future was taken before the clock was set back. Its holder renews it by the
    // new time.
    return row && Math.abs(Number(row.age));
  }
}

function leaseKey(gateway: string): string {
  return `provisioning:${gateway}`;
}

interface SecretColumns {
  readonly secret_hash: string | null;
  readonly previous_secret_hash: string | null;
}

/** Returns the hashes of the accepted secrets, newest first. */
function hashesOf({ secret_hash, previous_secret_hash }: SecretColumns): readonly string[] {
  return [secret_hash, previous_secret_hash].filter((hash) => hash !== null);
}

function secretColumns([newest = null, previous = null]: readonly (string | null)[]): SecretColumns {
  return { secret_hash: newest, previous_secret_hash: previous };
}
