import { type AuditFilter, listAudit } from "../audit/audit-log.ts";
import type { Decision } from "../audit/decision.ts";
import type { DecisionFilter } from "../audit/decision-log.ts";
import type { AdminServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { AuditEntry } from "../storage/stores/audit.ts";

/** `access.audit`: reads the audit log and the decision log. */
export class AccessAudit {
  readonly #services: AdminServices;

  constructor(services: AdminServices) {
    this.#services = services;
  }

  /** Returns entries of the audit log, newest first. */
  list(filter?: AuditFilter): Promise<readonly AuditEntry[]> {
    return withStorageErrors(this.#services.store, () => listAudit(this.#services.store.audit, filter));
  }

  /** Returns stored decisions, newest first. */
  decisions(filter?: DecisionFilter): Promise<readonly Decision[]> {
    return withStorageErrors(this.#services.store, () => this.#services.reports.decisionLog.list(filter));
  }
}
