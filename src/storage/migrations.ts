import { createHash } from "node:crypto";
import { type CreateTableBuilder, type Kysely, sql } from "kysely";
import type { Tables } from "./database.ts";
import type { Migration } from "./migration-runner.ts";

/** Instants are whole milliseconds, which SQLite's INTEGER and PostgreSQL's BIGINT both hold. */
const instant = sql`bigint`;

/**
 * How a database makes a table whose rows are small and found by their key. SQLite would keep the key in a tree of its own and
 * look up each row twice.
 */
export type KeyedTable = <Name extends string>(
  table: CreateTableBuilder<Name, never>,
) => CreateTableBuilder<Name, never>;

const firstTables = (keyed: KeyedTable): Migration => ({
  name: "0001_first_tables",
  async up(db: Kysely<unknown>) {
    await keyed(db.schema.createTable("sallyport_users"))
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

    await grantTable(keyed, db, "sallyport_user_permissions", "user_id", "sallyport_users.id")
      .addColumn("permission", "text", (c) =>
        c.notNull().references("sallyport_permissions.name").onDelete("cascade"),
      )
      .addPrimaryKeyConstraint("sallyport_user_permissions_pk", ["user_id", "permission"] as never[])
      .execute();
    await grantTable(keyed, db, "sallyport_group_permissions", "group_name", "sallyport_groups.name")
      .addColumn("permission", "text", (c) =>
        c.notNull().references("sallyport_permissions.name").onDelete("cascade"),
      )
      .addPrimaryKeyConstraint("sallyport_group_permissions_pk", ["group_name", "permission"] as never[])
      .execute();
    await grantTable(keyed, db, "sallyport_user_groups", "user_id", "sallyport_users.id")
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
      .createTable("sallyport_sessions")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("gateway_id", "text", (c) =>
        c.notNull().references("sallyport_gateways.id").onDelete("cascade"),
      )
      .addColumn("connection_id", "text", (c) => c.notNull())
      .addColumn("view", "text", (c) => c.notNull())
      .addColumn("user_id", "text")
      .addColumn("login_id", "text")
      .addColumn("source_ip", "text")
      .addColumn("connected_at", instant, (c) => c.notNull())
      .addColumn("last_seen_at", instant, (c) => c.notNull())
      .addColumn("request_count", "integer", (c) => c.notNull().defaultTo(0))
      .addColumn("closed_at", instant)
      .addColumn("disconnected_at", instant)
      .addColumn("close_code", "integer")
      .addColumn("close_reason", "text")
      .addUniqueConstraint("sallyport_sessions_connection", ["connection_id", "gateway_id"])
      .execute();
    await index(db, "sallyport_sessions", ["user_id", "id"]);
    await db.schema
      .createIndex("sallyport_sessions_open")
      .on("sallyport_sessions")
      .column("id")
      .where(sql.ref("closed_at"), "is", null)
      .execute();
    await index(db, "sallyport_sessions", ["login_id"]);

    await keyed(db.schema.createTable("sallyport_memberships"))
      .addColumn("session_id", "text", (c) =>
        c.notNull().references("sallyport_sessions.id").onDelete("cascade"),
      )
      .addColumn("channel", "text", (c) => c.notNull())
      .addColumn("joined_at", instant, (c) => c.notNull())
      .addPrimaryKeyConstraint("sallyport_memberships_pk", ["session_id", "channel"])
      .execute();
    await index(db, "sallyport_memberships", ["channel", "session_id"]);

    await keyed(db.schema.createTable("sallyport_tokens"))
      .addColumn("hash", "text", (c) => c.primaryKey())
      .addColumn("user_id", "text", (c) => c.notNull())
      .addColumn("login_id", "text")
      .addColumn("origin", "text")
      .addColumn("gateway_id", "text")
      .addColumn("created_at", instant, (c) => c.notNull())
      .addColumn("expires_at", instant, (c) => c.notNull())
      .addColumn("spent_at", instant)
      .execute();
    await index(db, "sallyport_tokens", ["login_id"]);
    await index(db, "sallyport_tokens", ["expires_at"]);

    await keyed(db.schema.createTable("sallyport_counters"))
      .addColumn("key", "text", (c) => c.primaryKey())
      .addColumn("window_started_at", instant, (c) => c.notNull())
      .addColumn("count", instant, (c) => c.notNull())
      .execute();

    await db.schema
      .createTable("sallyport_evictions")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("scope", "text", (c) => c.notNull())
      .addColumn("subject", "text", (c) => c.notNull())
      .addColumn("created_at", instant, (c) => c.notNull())
      .addColumn("claimed_by", "text")
      .addColumn("claimed_until", instant)
      .execute();
  },
});

const reasonsAndRecords: Migration = {
  name: "0002_reasons_and_records",
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable("sallyport_evictions").addColumn("change_number", instant).execute();
    await db.schema
      .alterTable("sallyport_evictions")
      .addColumn("done_by", "text", (c) => c.notNull().defaultTo(""))
      .execute();
    await db.schema
      .createTable("sallyport_eviction_users")
      .addColumn("eviction_id", "text", (c) =>
        c.notNull().references("sallyport_evictions.id").onDelete("cascade"),
      )
      .addColumn("user_id", "text", (c) => c.notNull())
      .addPrimaryKeyConstraint("sallyport_eviction_users_pk", ["eviction_id", "user_id"])
      .execute();

    // No foreign keys: what was done stays told when user, group or permission are gone.
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
    await index(db, "sallyport_audit", ["at"]);

    await db.schema
      .createTable("sallyport_decisions")
      .addColumn("reference", "text", (c) => c.primaryKey())
      .addColumn("at", instant, (c) => c.notNull())
      .addColumn("event", "text", (c) => c.notNull())
      .addColumn("verdict", "text", (c) => c.notNull())
      .addColumn("reason", "text")
      .addColumn("user_id", "text")
      .addColumn("session_id", "text")
      .addColumn("view", "text")
      .addColumn("handler", "text")
      .addColumn("channel", "text")
      .addColumn("repeats", "integer", (c) => c.notNull())
      .addColumn("details", "text", (c) => c.notNull())
      .execute();
    await index(db, "sallyport_decisions", ["at"]);
    await index(db, "sallyport_decisions", ["user_id", "at"]);

    await db.schema
      .createTable("sallyport_rules")
      .addColumn("kind", "text", (c) => c.notNull())
      .addColumn("name", "text", (c) => c.notNull())
      .addColumn("rule", "text", (c) => c.notNull())
      .addColumn("recorded_at", instant, (c) => c.notNull())
      .addPrimaryKeyConstraint("sallyport_rules_pk", ["kind", "name"])
      .execute();
  },
};

/** What `cleanup` looks rows up by. */
const connectedAt: Migration = {
  name: "0003_connected_at",
  async up(db: Kysely<unknown>) {
    await index(db, "sallyport_sessions", ["connected_at"]);
  },
};

/** Ended sessions are remembered, and session ids of the app are stored as hashes. */
const endedSessions = (keyed: KeyedTable): Migration => ({
  name: "0004_ended_sessions",
  async up(db: Kysely<unknown>) {
    await keyed(db.schema.createTable("sallyport_ended_sessions"))
      .addColumn("session_hash", "text", (c) => c.primaryKey())
      .addColumn("ended_at", instant, (c) => c.notNull())
      .execute();
    await index(db, "sallyport_ended_sessions", ["ended_at"]);
    await db.schema.alterTable("sallyport_tokens").addColumn("ended_at", instant).execute();
    const tables = db as unknown as Kysely<Tables>;
    for (const table of ["sallyport_sessions", "sallyport_tokens"] as const) {
      const rows = await tables.selectFrom(table).select("login_id").distinct().execute();
      for (const { login_id: id } of rows) {
        if (id === null) continue;
        const hash = createHash("sha256").update(id).digest("hex");
        await tables.updateTable(table).set({ login_id: hash }).where("login_id", "=", id).execute();
      }
    }
    // Records of ended sessions that no process has finished yet.
    const records = tables.selectFrom("sallyport_evictions").select(["id", "subject"]);
    for (const { id, subject } of await records.where("scope", "=", "login").execute()) {
      const hash = createHash("sha256").update(subject).digest("hex");
      await tables.updateTable("sallyport_evictions").set({ subject: hash }).where("id", "=", id).execute();
    }
  },
});

/** The view and the channel that a token was requested for. null: any. */
const tokenScope: Migration = {
  name: "0005_token_scope",
  async up(db: Kysely<unknown>) {
    for (const column of ["view", "channel"]) {
      await db.schema.alterTable("sallyport_tokens").addColumn(column, "text").execute();
    }
  },
};

/** What `connectionsPerUser` counts, and in what order it probes. */
const openConnections: Migration = {
  name: "0006_open_connections",
  async up(db: Kysely<unknown>) {
    await db.schema
      .createIndex("sallyport_sessions_open_user")
      .on("sallyport_sessions")
      .columns(["user_id", "connected_at"])
      .where(sql.ref("closed_at"), "is", null)
      .execute();
  },
};

/** What each change of permissions concerns. */
const changes = (keyed: KeyedTable): Migration => ({
  name: "0007_changes",
  async up(db: Kysely<unknown>) {
    await keyed(db.schema.createTable("sallyport_changes"))
      .addColumn("number", sql`bigint`, (c) => c.notNull())
      .addColumn("scope", "text", (c) => c.notNull())
      .addColumn("subject", "text", (c) => c.notNull())
      .addColumn("removes", "integer", (c) => c.notNull())
      .addColumn("recorded_at", instant, (c) => c.notNull())
      .addPrimaryKeyConstraint("sallyport_changes_pk", ["number", "scope", "subject"])
      .execute();
  },
});

function grantTable(
  keyed: KeyedTable,
  db: Kysely<unknown>,
  table: string,
  holder: string,
  references: string,
) {
  return keyed(db.schema.createTable(table))
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

/** Columns that a migration added to a table that was there before. */
const ADDED_COLUMNS = ["change_number", "done_by", "ended_at", "view", "channel"];

const MISSING_COLUMN = new RegExp(`column:? (named )?"?(\\w+\\.)?(${ADDED_COLUMNS.join("|")})\\b`);

/** Returns true for the message of a database that lacks a column which a migration adds, so that migrations have to run. */
export function namesMissingColumn(message: string): boolean {
  return MISSING_COLUMN.test(message);
}

/** Returns every migration of this version, in order. */
export function migrations(keyed: KeyedTable): readonly Migration[] {
  return [
    firstTables(keyed),
    reasonsAndRecords,
    connectedAt,
    endedSessions(keyed),
    tokenScope,
    openConnections,
    changes(keyed),
  ];
}
