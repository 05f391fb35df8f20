import { CONTROL_PLANE_SCHEMAS, type ControlPlaneOptions } from "./aws/provisioning/control-plane.ts";
import { provision } from "./aws/provisioning/provision.ts";
import type { Provisioner } from "./aws/provisioning/provisioner.ts";
import type { ProvisioningServices } from "./aws/provisioning/services.ts";
import { optionsOf, parseOptions } from "./options.ts";
import { CHANGE_SCHEMAS, type ChangeOptions } from "./permissions/grants.ts";

export type { ControlPlaneOptions } from "./aws/provisioning/control-plane.ts";
export type { Provisioner } from "./aws/provisioning/provisioner.ts";
export type { OnStep, Plan } from "./aws/provisioning/run.ts";
export type { DnsRecord, GatewayStatus } from "./aws/provisioning/status.ts";

/** A Sallyport, whose gateways can be provisioned. */
export interface ProvisionedApp {
  readonly provisioning: ProvisioningServices;
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
