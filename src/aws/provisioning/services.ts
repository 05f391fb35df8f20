import type { Audit } from "../../audit/audit-log.ts";
import type { Gateways } from "../../auth/gateways.ts";
import type { ChangeLog } from "../../revocation/change-log.ts";
import type { Database } from "../../storage/database.ts";
import type { GatewayDefinition } from "../define-gateway.ts";

/** What of an app provisioning works with. It names nothing of AWS's SDK, which an app need not have. */
export interface ProvisioningServices {
  /** By name. */
  readonly definitions: ReadonlyMap<string, GatewayDefinition>;
  readonly gateways: Gateways;
  readonly database: Database;
  readonly audit: Audit;
  readonly changeLog: ChangeLog;
}
