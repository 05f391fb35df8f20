import type { Gateways } from "../../auth/gateways.ts";
import type { Store } from "../../storage/store.ts";
import type { GatewayDefinition } from "../define-gateway.ts";

/**
 * The services of an app that provisioning uses. It has no types of the AWS SDK, because an app
 * without provisioning does not install it.
 */
export interface ProvisioningServices {
  /** Definitions by name. */
  readonly definitions: ReadonlyMap<string, GatewayDefinition>;
  /** Paths of the views to which no definition leads. */
  readonly unservedViews: readonly string[];
  readonly gateways: Gateways;
  readonly store: Pick<Store, "audit" | "gateways">;
}
