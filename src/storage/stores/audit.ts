/** The changes of permissions, connections and gateways that the audit log records. */
export type AuditAction =
  | "grant"
  | "revoke"
  | "add-to-group"
  | "remove-from-group"
  | "create-group"
  | "delete-group"
  | "set-active"
  | "set-superuser"
  | "delete-user"
  | "prune-permissions"
  | "end-session"
  | "recheck"
  | "close-connections"
  | "clear-limits"
  | "rules-changed"
  | "expired"
  | "provision";

/** One recorded change. */
export interface AuditEntry {
  /** Increases in the order in which changes were committed. Other writes may leave gaps. */
  readonly number: number;
  /** Time of the change in epoch milliseconds, by the clock of the database. */
  readonly at: number;
  readonly action: AuditAction;
  /** Who made the change, as the caller stated, or null if the caller stated no name. */
  readonly by: string | null;
  readonly reason: string | null;
  readonly user: string | null;
  readonly group: string | null;
  readonly permission: string | null;
  /** Other facts about the change, such as `until` or `channel`. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** The fields of an entry, except for its number and time. */
export interface AuditSubject {
  readonly action: AuditAction;
  readonly by?: string | null | undefined;
  readonly reason?: string | null | undefined;
  readonly user?: string | null | undefined;
  readonly group?: string | null | undefined;
  readonly permission?: string | null | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** Selects entries. An entry must match all given fields. */
export interface AuditQuery {
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  readonly permission?: string | undefined;
  readonly by?: string | undefined;
  /** Only entries at or after this time, in epoch milliseconds. */
  readonly since?: number | undefined;
  /** Only entries with smaller numbers. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** The append-only record of who changed what, when and why. Only a cleanup removes old entries. */
export interface AuditStore {
  /** Records an action that affects no permissions, with a number of its own. */
  append(subject: AuditSubject): Promise<void>;

  /** Returns the entries that match a query, newest first. */
  list(query: AuditQuery): Promise<readonly AuditEntry[]>;

  /**
   * Removes entries that are older than the given number of milliseconds.
   *
   * @returns how many were removed, at most `limit`
   */
  removeOlder(thanMs: number, limit: number): Promise<number>;
}
