import type { Database } from "../database.ts";
import type { Store } from "../store.ts";
import { SqlAudit } from "./audit.ts";
import { ChangeLog } from "./change-log.ts";
import { SqlChanges } from "./changes.ts";
import { SqlConnections } from "./connections.ts";
import { SqlDecisions } from "./decisions.ts";
import { SqlEndedSessions } from "./ended-sessions.ts";
import { SqlGateways } from "./gateways.ts";
import { SqlImports } from "./imports.ts";
import { SqlLimits } from "./limits.ts";
import { SqlLostChannels } from "./lost-channels.ts";
import { SqlMemberships } from "./memberships.ts";
import { SqlRevocations } from "./revocations.ts";
import { SqlTokens } from "./tokens.ts";
import { SqlUsers } from "./users.ts";

/** {@link Store} in SQL. The statements are written once for SQLite and PostgreSQL. */
export class SqlStore implements Store {
  readonly connections: SqlConnections;
  readonly memberships: SqlMemberships;
  readonly lostChannels: SqlLostChannels;
  readonly tokens: SqlTokens;
  readonly endedSessions: SqlEndedSessions;
  readonly limits: SqlLimits;
  readonly users: SqlUsers;
  readonly changes: SqlChanges;
  readonly imports: SqlImports;
  readonly revocations: SqlRevocations;
  readonly audit: SqlAudit;
  readonly decisions: SqlDecisions;
  readonly gateways: SqlGateways;
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
    const changeLog = new ChangeLog(database);
    this.users = new SqlUsers(database);
    this.audit = new SqlAudit(database, changeLog);
    this.endedSessions = new SqlEndedSessions(database);
    this.limits = new SqlLimits(database, this.audit);
    this.tokens = new SqlTokens(database, this);
    this.revocations = new SqlRevocations(database);
    this.connections = new SqlConnections(database, { users: this.users, tokens: this.tokens, changeLog });
    this.memberships = new SqlMemberships(database, { connections: this.connections, changeLog });
    this.lostChannels = new SqlLostChannels(database, this.connections);
    this.changes = new SqlChanges(database, { ...this, changeLog });
    this.imports = new SqlImports(database, { ...this, changeLog });
    this.decisions = new SqlDecisions(database);
    this.gateways = new SqlGateways(database);
  }

  async now(): Promise<number> {
    const { db, now } = this.#database;
    const row = await db.selectNoFrom(now.as("now")).executeTakeFirstOrThrow();
    return Number(row.now);
  }

  failure(error: unknown): unknown {
    return this.#database.failure(error);
  }
}

const STORES = new WeakMap<Database, SqlStore>();

/** Returns the store of a database. Its statements are prepared once. */
export function storeOf(database: Database): SqlStore {
  let store = STORES.get(database);
  if (!store) {
    store = new SqlStore(database);
    STORES.set(database, store);
  }
  return store;
}
