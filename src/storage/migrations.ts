import { type CreateTableBuilder, type Kysely, sql } from "kysely";
import type { Migration } from "./migration-runner.ts";

/**
 * The type of points in time: whole milliseconds, stored as INTEGER in SQLite and BIGINT in
 * PostgreSQL.
 */
const instant = sql`bigint`;

/**
 * Creates a table with small rows that are read by primary key. In SQLite, a table with a rowid
 * would have a separate index for the key and look up each row twice.
 */
export type WithoutRowid = <Name extends string>(
  table: CreateTableBuilder<Name, never>,
) => CreateTableBuilder<Name, never>;

const baseline = (withoutRowid: WithoutRowid): Migration => ({
  name: "0001_baseline",
  async up(db: Kysely<unknown>) {
    await createUsers(db, withoutRowid);
    await createConnections(db, withoutRowid);
    await createRevocations(db, withoutRowid);
    await createRecords(db);
  },
});

/** Creates the tables of users, groups, permissions and grants. */
async function createUsers(db: Kysely<unknown>, withoutRowid: WithoutRowid): Promise<void> {
  await withoutRowid(db.schema.createTable("sallyport_users"))
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("is_active", "integer", (c) => c.notNull().defaultTo(1))
    .addColumn("is_superuser", "integer", (c) => c.notNull().defaultTo(0))
    .addColumn("created_at", instant, (c) => c.notNull())
    .execute();
  await db.schema
    .createTable("sallyport_groups")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("created_at", instant, (c) => c.notNull())
    .execute();
  await db.schema
    .createTable("sallyport_permissions")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("label", "text", (c) => c.notNull())
    .addColumn("created_at", instant, (c) => c.notNull())
    .execute();

  await grantTable(withoutRowid, db, "sallyport_user_permissions", "user_id", "sallyport_users.id")
    .addColumn("permission", "text", (c) =>
      c.notNull().references("sallyport_permissions.name").onDelete("cascade"),
    )
    .addPrimaryKeyConstraint("sallyport_user_permissions_pk", ["user_id", "permission"] as never[])
    .execute();
  await grantTable(withoutRowid, db, "sallyport_group_permissions", "group_name", "sallyport_groups.name")
    .addColumn("permission", "text", (c) =>
      c.notNull().references("sallyport_permissions.name").onDelete("cascade"),
    )
    .addPrimaryKeyConstraint("sallyport_group_permissions_pk", ["group_name", "permission"] as never[])
    .execute();
  await grantTable(withoutRowid, db, "sallyport_user_groups", "user_id", "sallyport_users.id")
    .addColumn("group_name", "text", (c) =>
      c.notNull().references("sallyport_groups.name").onDelete("cascade"),
    )
    .addPrimaryKeyConstraint("sallyport_user_groups_pk", ["user_id", "group_name"] as never[])
    .execute();
  for (const grants of ["user_permissions", "group_permissions", "user_groups"]) {
    await index(db, `sallyport_${grants}`, ["until_at"]);
  }
  await index(db, "sallyport_user_permissions", ["permission", "user_id"]);
  await index(db, "sallyport_group_permissions", ["permission", "group_name"]);
  await index(db, "sallyport_user_groups", ["group_name", "user_id"]);
}

/**
 * Creates the tables of gateways, connections, memberships, tokens, ended sessions and limit
 * windows.
 */
async function createConnections(db: Kysely<unknown>, withoutRowid: WithoutRowid): Promise<void> {
  await db.schema
    .createTable("sallyport_gateways")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("name", "text", (c) => c.notNull().unique())
    .addColumn("api_id", "text")
    .addColumn("stage", "text", (c) => c.notNull())
    .addColumn("endpoint", "text", (c) => c.notNull())
    .addColumn("secret_hash", "text")
    .addColumn("previous_secret_hash", "text")
    .addColumn("replies", "text", (c) => c.notNull().defaultTo("route"))
    .addColumn("created_at", instant, (c) => c.notNull())
    .addColumn("updated_at", instant, (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("sallyport_connections")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("gateway_id", "text", (c) =>
      c.notNull().references("sallyport_gateways.id").onDelete("cascade"),
    )
    .addColumn("connection_id", "text", (c) => c.notNull())
    .addColumn("view", "text", (c) => c.notNull())
    .addColumn("user_id", "text")
    .addColumn("session_id", "text")
    .addColumn("source_ip", "text")
    .addColumn("connected_at", instant, (c) => c.notNull())
    .addColumn("last_seen_at", instant, (c) => c.notNull())
    .addColumn("request_count", "integer", (c) => c.notNull().defaultTo(0))
    .addColumn("closed_at", instant)
    .addColumn("disconnected_at", instant)
    .addColumn("close_code", "integer")
    .addColumn("close_reason", "text")
    .addUniqueConstraint("sallyport_connections_connection", ["connection_id", "gateway_id"])
    .execute();
  await index(db, "sallyport_connections", ["user_id", "id"]);
  await index(db, "sallyport_connections", ["session_id"]);
  await index(db, "sallyport_connections", ["gateway_id"]);
  await index(db, "sallyport_connections", ["connected_at"]);
  await openConnectionsIndex(db, "sallyport_connections_open", ["id"]);
  await openConnectionsIndex(db, "sallyport_connections_open_user", ["user_id", "connected_at"]);

  await withoutRowid(db.schema.createTable("sallyport_memberships"))
    .addColumn("connection_key", "text", (c) =>
      c.notNull().references("sallyport_connections.id").onDelete("cascade"),
    )
    .addColumn("channel", "text", (c) => c.notNull())
    .addColumn("joined_at", instant, (c) => c.notNull())
    .addPrimaryKeyConstraint("sallyport_memberships_pk", ["connection_key", "channel"])
    .execute();
  await index(db, "sallyport_memberships", ["channel", "connection_key"]);

  await withoutRowid(db.schema.createTable("sallyport_tokens"))
    .addColumn("hash", "text", (c) => c.primaryKey())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("session_id", "text")
    .addColumn("origin", "text")
    .addColumn("gateway_id", "text")
    .addColumn("view", "text")
    .addColumn("channel", "text")
    .addColumn("created_at", instant, (c) => c.notNull())
    .addColumn("expires_at", instant, (c) => c.notNull())
    .addColumn("spent_at", instant)
    .addColumn("ended_at", instant)
    .execute();
  await index(db, "sallyport_tokens", ["user_id"]);
  await index(db, "sallyport_tokens", ["session_id"]);
  await index(db, "sallyport_tokens", ["expires_at"]);

  await withoutRowid(db.schema.createTable("sallyport_ended_sessions"))
    .addColumn("session_hash", "text", (c) => c.primaryKey())
    .addColumn("ended_at", instant, (c) => c.notNull())
    .execute();
  await index(db, "sallyport_ended_sessions", ["ended_at"]);

  await withoutRowid(db.schema.createTable("sallyport_counters"))
    .addColumn("key", "text", (c) => c.primaryKey())
    .addColumn("window_started_at", instant, (c) => c.notNull())
    .addColumn("count", instant, (c) => c.notNull())
    .execute();
  await index(db, "sallyport_counters", ["window_started_at"]);
}

/** Creates the tables of permission changes and pending revocations. */
async function createRevocations(db: Kysely<unknown>, withoutRowid: WithoutRowid): Promise<void> {
  await db.schema
    .createTable("sallyport_revocations")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("scope", "text", (c) => c.notNull())
    .addColumn("subject", "text", (c) => c.notNull())
    .addColumn("created_at", instant, (c) => c.notNull())
    .addColumn("claimed_by", "text")
    .addColumn("claimed_until", instant)
    .addColumn("change_number", instant)
    .addColumn("done_by", "text", (c) => c.notNull().defaultTo(""))
    .execute();
  await db.schema
    .createTable("sallyport_revocation_users")
    .addColumn("revocation_id", "text", (c) =>
      c.notNull().references("sallyport_revocations.id").onDelete("cascade"),
    )
    .addColumn("user_id", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("sallyport_revocation_users_pk", ["revocation_id", "user_id"])
    .execute();
  await withoutRowid(db.schema.createTable("sallyport_changes"))
    .addColumn("number", instant, (c) => c.notNull())
    .addColumn("scope", "text", (c) => c.notNull())
    .addColumn("subject", "text", (c) => c.notNull())
    .addColumn("removes", "integer", (c) => c.notNull())
    .addColumn("recorded_at", instant, (c) => c.notNull())
    .addPrimaryKeyConstraint("sallyport_changes_pk", ["number", "scope", "subject"])
    .execute();
}

/** Creates the tables of the audit log, the decision log and the declared rules. */
async function createRecords(db: Kysely<unknown>): Promise<void> {
  // No foreign keys, so that entries are kept when the user, the group or the permission is
  // removed.
  await db.schema
    .createTable("sallyport_audit")
    .addColumn("number", instant, (c) => c.primaryKey())
    .addColumn("at", instant, (c) => c.notNull())
    .addColumn("action", "text", (c) => c.notNull())
    .addColumn("made_by", "text")
    .addColumn("reason", "text")
    .addColumn("user_id", "text")
    .addColumn("group_name", "text")
    .addColumn("permission", "text")
    .addColumn("details", "text", (c) => c.notNull())
    .execute();
  await index(db, "sallyport_audit", ["user_id", "number"]);
  await index(db, "sallyport_audit", ["group_name"]);
  await index(db, "sallyport_audit", ["permission"]);
  await index(db, "sallyport_audit", ["made_by"]);
  await index(db, "sallyport_audit", ["at"]);

  await db.schema
    .createTable("sallyport_decisions")
    .addColumn("reference", "text", (c) => c.primaryKey())
    .addColumn("at", instant, (c) => c.notNull())
    .addColumn("event", "text", (c) => c.notNull())
    .addColumn("verdict", "text", (c) => c.notNull())
    .addColumn("reason", "text")
    .addColumn("user_id", "text")
    .addColumn("connection_key", "text")
    .addColumn("view", "text")
    .addColumn("handler", "text")
    .addColumn("channel", "text")
    .addColumn("repeats", "integer", (c) => c.notNull())
    .addColumn("details", "text", (c) => c.notNull())
    .execute();
  await index(db, "sallyport_decisions", ["at"]);
  await index(db, "sallyport_decisions", ["verdict", "at"]);
  await index(db, "sallyport_decisions", ["user_id", "at", "reference"]);

  await db.schema
    .createTable("sallyport_rules")
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("rule", "text", (c) => c.notNull())
    .addColumn("recorded_at", instant, (c) => c.notNull())
    .addPrimaryKeyConstraint("sallyport_rules_pk", ["kind", "name"])
    .execute();
}

function grantTable(
  withoutRowid: WithoutRowid,
  db: Kysely<unknown>,
  table: string,
  holder: string,
  references: string,
) {
  return withoutRowid(db.schema.createTable(table))
    .addColumn(holder, "text", (c) => c.notNull().references(references).onDelete("cascade"))
    .addColumn("until_at", instant)
    .addColumn("granted_at", instant, (c) => c.notNull())
    .addColumn("granted_by", "text")
    .addColumn("reason", "text");
}

function index(db: Kysely<unknown>, table: string, columns: string[]): Promise<void> {
  return db.schema
    .createIndex(`${table}_${columns.join("_")}`)
    .on(table)
    .columns(columns)
    .execute();
}

/** Creates an index of open connections only. Most rows are closed. */
function openConnectionsIndex(db: Kysely<unknown>, name: string, columns: string[]): Promise<void> {
  return db.schema
    .createIndex(name)
    .on("sallyport_connections")
    .columns(columns)
    .where(sql.ref("closed_at"), "is", null)
    .execute();
}

/** Creates the table of the channels that open connections lost access to. */
const lostChannels = (withoutRowid: WithoutRowid): Migration => ({
  name: "0002_lost_channels",
  async up(db: Kysely<unknown>) {
    await withoutRowid(db.schema.createTable("sallyport_lost_channels"))
      .addColumn("connection_key", "text", (c) =>
        c.notNull().references("sallyport_connections.id").onDelete("cascade"),
      )
      .addColumn("channel", "text", (c) => c.notNull())
      .addColumn("revocation_id", "text")
      .addPrimaryKeyConstraint("sallyport_lost_channels_pk", ["connection_key", "channel"])
      .execute();
    await index(db, "sallyport_lost_channels", ["channel", "connection_key"]);
    // A process of the previous version inserts records without this column.
    await db.schema
      .alterTable("sallyport_revocations")
      .addColumn("adds_only", "integer", (c) => c.notNull().defaultTo(0))
      .execute();
  },
});

/** Returns all migrations of this version, in order. */
export function migrations(withoutRowid: WithoutRowid): readonly Migration[] {
  return [baseline(withoutRowid), lostChannels(withoutRowid)];
}
