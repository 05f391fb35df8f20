import type { ConnectionSelector } from "./connections.ts";

/** The connections that a record concerns. See {@link RevocationTarget}. */
export type RevocationScope =
  | "user"
  | "users"
  | "deleted-user"
  | "group"
  | "session"
  | "channel"
  | "view"
  | "everyone";

/**
 * The connections that a change can affect.
 *
 * They belong to one user, the members of a group, the users that its record lists, a deleted user
 * or an ended session. Or they are in a channel, of a view, or all connections.
 */
export type RevocationTarget =
  | { readonly scope: Exclude<RevocationScope, "users" | "everyone">; readonly subject: string }
  | { readonly scope: "users" }
  | { readonly scope: "everyone" };

/** The record of a permission change that must still be applied to open connections. */
export interface Revocation {
  readonly id: string;
  readonly scope: RevocationScope;
  /** Id of the user, hash of the session id, name of the group or channel, or path of the view. */
  readonly subject: string;
  /** Number of the change in the audit log, or `null`. */
  readonly change: number | null;
  /** Whether the change only added permissions. Then only lost channels are checked. */
  readonly addsOnly: boolean;
  /** Whether another process had started it, and may have exited before it was finished. */
  readonly isTakenOver: boolean;
}

/** Returns the selector of the connections that a change can affect. */
export function selectorOf({
  id,
  scope,
  subject,
}: Pick<Revocation, "id" | "scope" | "subject">): ConnectionSelector {
  switch (scope) {
    case "user":
      return { kind: "user", userId: subject };
    case "users":
      return { kind: "listed", revocationId: id };
    case "deleted-user":
      return { kind: "deleted-user", userId: subject };
    case "group":
      return { kind: "group", group: subject };
    case "session":
      return { kind: "session", sessionId: subject };
    case "channel":
      return { kind: "channel", channel: subject };
    case "view":
      return { kind: "view", view: subject };
    case "everyone":
      return { kind: "all" };
  }
}

/** The process and the app that process revocations. */
export interface RevocationClaimant {
  /** Id of the process. */
  readonly id: string;
  /** Id of the app. All processes with the same views and channels have the same one. */
  readonly app: string;
}

/** Selects the record to dequeue. */
export interface DequeueOptions {
  /** Records that are in progress in this process. */
  readonly except: ReadonlySet<string>;
  /** Id of the record to dequeue. Default: the oldest. */
  readonly only?: string | undefined;
  /**
   * Whether to dequeue a record of a change that returned access. It is available when all removals
   * before it are completed. Default false.
   */
  readonly addsOnly?: boolean | undefined;
}

/**
 * The queue of recorded permission changes. `ChangeStore` adds records. Each record is processed by
 * the process that dequeues it.
 */
export interface RevocationStore {
  /**
   * Dequeues the oldest record that is available, or a given one, and takes its lease. Of
   * concurrent calls, only one receives a record.
   */
  dequeue(claimant: RevocationClaimant, options: DequeueOptions): Promise<Revocation | undefined>;

  /** Renews the leases of records. */
  renew(claimant: RevocationClaimant, ids: readonly string[]): Promise<void>;

  /**
   * Returns a failed record to the queue. Any process can dequeue it when its lease has expired. A
   * record that another process has dequeued since then is not changed.
   */
  postpone(claimant: RevocationClaimant, id: string): Promise<void>;

  /**
   * Completes a record for this app, if another app must check some of its connections. The record
   * is kept for the maximum duration of a connection.
   */
  completeForThisApp(claimant: RevocationClaimant, id: string): Promise<void>;

  /** Removes a finished record. A record that another process has dequeued since then is kept. */
  finish(claimant: RevocationClaimant, id: string): Promise<void>;
}
