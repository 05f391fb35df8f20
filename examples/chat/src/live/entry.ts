import type { AuditEntry, Decision } from "sallyport";

/** A line of the live panel. */
export type LiveEntry = {
  readonly id: number;
  /** Epoch milliseconds. */
  readonly at: number;
} & (
  | {
      /** An event that was allowed or denied, or access that ended. */
      readonly kind: "decision";
      readonly person: string | null;
      readonly decision: Decision;
    }
  | {
      /** A change of permissions. */
      readonly kind: "change";
      readonly person: string | null;
      readonly change: AuditEntry;
    }
  | {
      /** A socket that was closed because a permission ended. */
      readonly kind: "closed";
      readonly person: string | null;
      readonly userId: string | null;
      /** The time from the commit of the change to the close of the socket, in milliseconds. */
      readonly afterMs: number;
      readonly change: AuditEntry;
    }
);

/** An entry without its number. */
export type NewLiveEntry = LiveEntry extends infer Entry
  ? Entry extends LiveEntry
    ? Omit<Entry, "id">
    : never
  : never;
