import * as v from "valibot";
import {
  instantOption,
  optionsOf,
  parseOptions,
  rowLimit,
  searchedGroup,
  searchedText,
  wholeNumberOption,
} from "../options.ts";
import type { AuditEntry, AuditStore } from "../storage/stores/audit.ts";

/** Selects entries of the audit log. They are listed newest first. */
export interface AuditFilter {
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  readonly permission?: string | undefined;
  readonly by?: string | undefined;
  /** Only entries at or after this time: a Date, or epoch milliseconds. */
  readonly since?: number | Date | undefined;
  /** Only entries with smaller numbers. For the next page, pass the number of the last entry. */
  readonly before?: number | undefined;
  /** The maximum number of entries, from 1 to 1 000. Default 100. */
  readonly limit?: number | undefined;
}

const AUDIT_FILTER = optionsOf<AuditFilter>()({
  user: v.optional(searchedText),
  group: v.optional(searchedGroup),
  permission: v.optional(searchedText),
  by: v.optional(searchedText),
  since: v.optional(instantOption),
  before: v.optional(wholeNumberOption(0)),
  limit: rowLimit,
});

/**
 * Returns the entries of the audit log that match a filter, newest first.
 *
 * @throws ConfigurationError with the name of the filter, its value and what to change
 */
export async function listAudit(store: AuditStore, filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
  return store.list(parseOptions("audit()", AUDIT_FILTER, filter));
}
