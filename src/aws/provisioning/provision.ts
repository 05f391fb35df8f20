import { type ChangeOptions, checkChangeOptions } from "../../permissions/grants.ts";
import { getDefinition } from "../defined-gateways.ts";
import { ControlPlane, type ControlPlaneOptions } from "./control-plane.ts";
import { Provisioner } from "./provisioner.ts";
import type { ProvisioningServices } from "./services.ts";

/**
 * Creates the provisioner of a gateway, which records the steps of each run in the audit.
 *
 * @param name the name of the gateway. Optional if the app defines one gateway only
 * @throws ConfigurationError if the app does not define the gateway
 */
export function provision(
  { definitions, gateways, store }: ProvisioningServices,
  name: string | undefined,
  options: ChangeOptions,
  controlPlane: ControlPlaneOptions,
): Provisioner {
  checkChangeOptions(options);
  const definition = getDefinition(definitions, name);
  return new Provisioner({
    gateways,
    leases: store.gateways,
    definition,
    plane: new ControlPlane(definition.region, controlPlane),
    keep: (run, steps, unknown) => {
      const describe = (list: typeof steps) => list.map(({ action, what }) => `${action} ${what}`);
      const details = {
        gateway: definition.name,
        run,
        steps: describe(steps),
        ...(unknown.length > 0 ? { perhaps: describe(unknown) } : {}),
      };
      return store.audit.append({ action: "provision", ...options, details });
    },
  });
}
