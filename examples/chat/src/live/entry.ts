import type { AuditEntry, Decision } from "sallyport";

/** A line of the live panel. */
export type LiveEntry = {
  readonly id: number;
  /** Epoch milliseconds. */
  readonly at: number;
  /** The name of the person that the entry is about, or null if it is about no single person. */
  readonly person: string | null;
} & (
  | {
      /** An event that was allowed or denied, or access that ended. */
      readonly kind: "decision";
      readonly decision: Decision;
    }
  | {
      /** A change of permissions, or the end of a session. */
      readonly kind: "change";
      readonly change: AuditEntry;
    }
  | {
      /** A socket that was closed because access to the view ended. */
      readonly kind: "closed";
      readonly userId: string | null;
      /** The time from the record of the change to the disconnect event, in milliseconds. */
      readonly afterMs: number;
      readonly change: AuditEntry;
      /** The reference of the decision that closed the socket. */
      readonly reference: string;
    }
  | {
      /** A socket that was closed for another reason, for example because its tab was closed. */
      readonly kind: "disconnected";
      /** The number of other sockets of the person that are open. A page that changes rooms has two. */
      readonly othersOpen: number;
    }
  | {
      /** Everyone got the access of the start again. Later entries are the changes of the reset. */
      readonly kind: "reset";
    }
);

/** An entry without its number. */
export type NewLiveEntry = LiveEntry extends infer Entry
  ? Entry extends LiveEntry
    ? Omit<Entry, "id">
    : never
  : never;
