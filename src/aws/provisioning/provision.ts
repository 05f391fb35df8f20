import { type ChangeOptions, checkChangeOptions } from "../../permissions/grants.ts";
import { definedAs } from "../defined-gateways.ts";
import { ControlPlane, type ControlPlaneOptions } from "./control-plane.ts";
import { Provisioner } from "./provisioner.ts";
import type { ProvisioningServices } from "./services.ts";

/** Provisions a gateway that is defined, and keeps in the audit what was done. @throws ConfigurationError for one that is not */
export function provision(
  { definitions, database, gateways, audit, changeLog }: ProvisioningServices,
  name: string | undefined,
  options: ChangeOptions,
  reached: ControlPlaneOptions,
): Provisioner {
  checkChangeOptions(options);
  const definition = definedAs(definitions, name);
  return new Provisioner({
    database,
    gateways,
    definition,
    plane: new ControlPlane(definition.region, reached),
    keep: (run, steps, unknown) =>
      database.transaction(async (db) => {
        const words = (some: typeof steps) => some.map(({ action, what }) => `${action} ${what}`);
        const details = {
          gateway: definition.name,
          run,
          steps: words(steps),
          ...(unknown.length > 0 ? { perhaps: words(unknown) } : {}),
        };
        await audit.record(db, await changeLog.append(db), { action: "provision", ...options, details });
      }),
  });
}
