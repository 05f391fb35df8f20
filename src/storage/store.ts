import type { AuditStore } from "./stores/audit.ts";
import type { ChangeStore } from "./stores/changes.ts";
import type { ConnectionStore } from "./stores/connections.ts";
import type { DecisionStore } from "./stores/decisions.ts";
import type { GatewayStore } from "./stores/gateways.ts";
import type { ImportStore } from "./stores/imports.ts";
import type { LimitStore } from "./stores/limits.ts";
import type { LostChannelStore } from "./stores/lost-channels.ts";
import type { MembershipStore } from "./stores/memberships.ts";
import type { RevocationStore } from "./stores/revocations.ts";
import type { EndedSessionStore } from "./stores/sessions.ts";
import type { TokenStore } from "./stores/tokens.ts";
import type { UserStore } from "./stores/users.ts";

/**
 * The stored data of an app, in one part for each kind of data.
 *
 * Each operation is atomic by itself, and no operation hands out a transaction. Lists are read in
 * pages by key.
 */
export interface Store {
  readonly connections: ConnectionStore;
  readonly memberships: MembershipStore;
  readonly lostChannels: LostChannelStore;
  readonly tokens: TokenStore;
  readonly endedSessions: EndedSessionStore;
  readonly limits: LimitStore;
  readonly users: UserStore;
  readonly changes: ChangeStore;
  readonly imports: ImportStore;
  readonly revocations: RevocationStore;
  readonly audit: AuditStore;
  readonly decisions: DecisionStore;
  readonly gateways: GatewayStore;

  /** Returns the time of the database in epoch milliseconds. */
  now(): Promise<number>;

  /**
   * Converts an error of the driver to a `StorageError`. Other errors are returned unchanged.
   */
  failure(error: unknown): unknown;
}

/** A database of Sallyport. `sqlite()` and `postgres()` return one. */
export interface Storage {
  readonly store: Store;

  /**
   * Returns whether another process may have written since the last call. It is called every 250
   * ms.
   */
  pollExternalChanges(): Promise<boolean>;

  /**
   * Calls `onChange` when permissions may have changed through another storage, if the database
   * supports it.
   *
   * Calls can be unnecessary or missing, so polling is still required.
   *
   * @returns a function that stops the listener
   */
  listen(onChange: () => void): () => Promise<void>;

  /**
   * Checks that the database accepts writes. It takes one round trip, leaves no row, and blocks no
   * other writer.
   *
   * @throws the error of the driver, for example for a standby, or a disk that is full or read-only
   */
  checkWritable(): Promise<void>;

  /** Why no connection can be opened at present, if that is known. */
  readonly unreachable?: string | undefined;

  /**
   * Creates and updates the tables. Only one process does it at a time. Returns the migrations that
   * ran.
   */
  migrate(): Promise<readonly string[]>;

  /**
   * Returns the names of the migrations that {@link migrate} would run. It changes nothing.
   *
   * @throws the error of the driver, or StorageError if the tables cannot be migrated
   */
  pendingMigrations(): Promise<readonly string[]>;

  /** Closes the connections that the storage opened. A Kysely instance of the app is not closed. */
  close(): Promise<void>;
}
