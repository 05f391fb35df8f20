import type { Audit } from "../access/audit.ts";
import type { ChangeLog } from "../access/change-log.ts";
import type { GatewayDefinition } from "../gateways/definition.ts";
import type { Gateways } from "../gateways/gateways.ts";
import type { Database } from "../storage/database.ts";

/** What of an app provisioning works with. It names nothing of AWS's SDK, which an app need not have. */
export interface ProvisioningRooms {
  /** By name. */
  readonly definitions: ReadonlyMap<string, GatewayDefinition>;
  readonly gateways: Gateways;
  readonly database: Database;
  readonly audit: Audit;
  readonly changeLog: ChangeLog;
}
