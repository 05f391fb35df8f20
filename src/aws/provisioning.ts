import { INTERNAL } from "../internal.ts";
import { optionsOf, parseOptions } from "../options.ts";
import { CHANGE_SCHEMAS, type ChangeOptions } from "../permissions/grants.ts";
import { CONTROL_PLANE_SCHEMAS, type ControlPlaneOptions } from "./provisioning/control-plane.ts";
import { provision } from "./provisioning/provision.ts";
import type { Provisioner } from "./provisioning/provisioner.ts";
import type { ProvisioningServices } from "./provisioning/services.ts";

export type { ControlPlaneOptions } from "./provisioning/control-plane.ts";
export type { Provisioner } from "./provisioning/provisioner.ts";
export type { OnStep, Plan } from "./provisioning/run.ts";
export type { DnsRecord, GatewayStatus } from "./provisioning/status.ts";

/** A Sallyport object, as `createSallyport()` returns it. `provisioner()` needs this part of it. */
export interface ProvisionedApp {
  readonly [INTERNAL]: { readonly provisioning: ProvisioningServices };
}

const PROVISIONER_OPTIONS = optionsOf<ChangeOptions & ControlPlaneOptions>()({
  ...CHANGE_SCHEMAS,
  ...CONTROL_PLANE_SCHEMAS,
});

/**
 * Returns an object that creates and updates a gateway of the app in AWS.
 *
 * It uses the credentials that the AWS SDK finds. It requires the package
 * `@aws-sdk/client-apigatewayv2`, and `@aws-sdk/client-lambda` for gateways that call Lambda
 * functions.
 *
 * @param app the object that `createSallyport()` returned
 * @param name the name of the gateway. Optional if the app defines exactly one gateway
 * @param options `by` and `reason` for the audit log, and how AWS is reached. All are optional
 * @throws ConfigurationError if the app does not define this gateway, or an option is invalid
 */
export function provisioner(
  app: ProvisionedApp,
  name?: string,
  options: ChangeOptions & ControlPlaneOptions = {},
): Provisioner {
  const { by, reason, ...controlPlane } = parseOptions("provisioner()", PROVISIONER_OPTIONS, options);
  const change = { ...(by === undefined ? {} : { by }), ...(reason === undefined ? {} : { reason }) };
  return provision(app[INTERNAL].provisioning, name, change, controlPlane);
}
