import { CHANGE_SCHEMAS, type ChangeOptions } from "./access/grants.ts";
import { provision } from "./lifecycle/provision.ts";
import type { ProvisioningRooms } from "./lifecycle/provisioning-rooms.ts";
import { optionsOf, parseOptions } from "./options.ts";
import { CONTROL_PLANE_SCHEMAS, type ControlPlaneOptions } from "./provisioning/control-plane.ts";
import type { Provisioner } from "./provisioning/provisioner.ts";

export type { ControlPlaneOptions } from "./provisioning/control-plane.ts";
export type { Provisioner } from "./provisioning/provisioner.ts";
export type { Plan, Told } from "./provisioning/run.ts";
export type { DnsRecord, GatewayStatus } from "./provisioning/status.ts";

/** A Sallyport, whose gateways can be provisioned. */
export interface ProvisionedApp {
  readonly provisioning: ProvisioningRooms;
}

const PROVISIONER_OPTIONS = optionsOf<ChangeOptions & ControlPlaneOptions>()({
  ...CHANGE_SCHEMAS,
  ...CONTROL_PLANE_SCHEMAS,
});

/**
 * Provisions a gateway that the app has defined, at AWS, with the credentials that the AWS SDK finds. It takes the package
 * `@aws-sdk/client-apigatewayv2`, and for functions `@aws-sdk/client-lambda`.
 *
 * @param name of the gateway; may be left out where only one is defined
 * @param options who does it and why, for the audit; and how AWS is reached
 * @throws ConfigurationError for a gateway that is not defined
 */
export function provisioner(
  app: ProvisionedApp,
  name?: string,
  options: ChangeOptions & ControlPlaneOptions = {},
): Provisioner {
  const { by, reason, ...reached } = parseOptions("provisioner()", PROVISIONER_OPTIONS, options);
  const who = { ...(by === undefined ? {} : { by }), ...(reason === undefined ? {} : { reason }) };
  return provision(app.provisioning, name, who, reached);
}
