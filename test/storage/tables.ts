import { randomUUID } from "node:crypto";
import type { Kysely } from "kysely";
import { Gateways, gatewaySecret } from "../../src/auth/gateways.ts";
import type { Database, Tables } from "../../src/storage/database.ts";
import { sorted } from "./processes.ts";

export type Db = Kysely<Tables>;

/** Rows per INSERT, well below the parameter limits of both databases. */
const ROWS = 1000;

async function inserted<Row>(rows: readonly Row[], insert: (some: Row[]) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < rows.length; from += ROWS) await insert(rows.slice(from, from + ROWS));
}

export function addGroups(db: Db, ...names: string[]): Promise<void> {
  return inserted(names, (some) =>
    db
      .insertInto("sallyport_groups")
      .values(some.map((name) => ({ name, created_at: 1 })))
      .execute(),
  );
}

export async function groupsIn(db: Db): Promise<string[]> {
  return sorted((await db.selectFrom("sallyport_groups").select("name").execute()).map(({ name }) => name));
}

export function addUsers(db: Db, ids: readonly string[]): Promise<void> {
  return inserted(ids, (some) =>
    db
      .insertInto("sallyport_users")
      .values(some.map((id) => ({ id, is_active: 1 as const, is_superuser: 0 as const, created_at: 1 })))
      .execute(),
  );
}

/** Adds a gateway for connections and returns its id. */
export async function addGateway(database: Database, name = "local"): Promise<string> {
  const endpoint = `https://${name}.execute-api.eu-west-1.amazonaws.com/prod`;
  return (await new Gateways(database.store).register({ name, endpoint, secret: gatewaySecret() })).id;
}

export type Session = Partial<Tables["sallyport_connections"]> & { readonly gateway_id: string };

/** Adds connections with the given fields. By default, they connected now. */
export function addSessions(database: Database, sessions: readonly Session[]): Promise<void> {
  return inserted(sessions, (some) =>
    database.db
      .insertInto("sallyport_connections")
      .values(
        some.map((session) => ({
          id: randomUUID(),
          connection_id: randomUUID(),
          view: "/ws/chat",
          user_id: null,
          session_id: null,
          source_ip: null,
          connected_at: database.now,
          last_seen_at: database.now,
          request_count: 0,
          closed_at: null,
          disconnected_at: null,
          close_code: null,
          close_reason: null,
          ...session,
        })),
      )
      .execute(),
  );
}

export type Membership = Pick<Tables["sallyport_memberships"], "connection_key" | "channel"> & {
  readonly joined_at?: number;
};

export function addMemberships(db: Db, memberships: readonly Membership[]): Promise<void> {
  return inserted(memberships, (some) =>
    db
      .insertInto("sallyport_memberships")
      .values(some.map((membership) => ({ joined_at: 1, ...membership })))
      .execute(),
  );
}
