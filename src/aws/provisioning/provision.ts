import { type ChangeOptions, checkChangeOptions } from "../access/grants.ts";
import { definedAs } from "../gateways/defined-gateways.ts";
import { ControlPlane, type ControlPlaneOptions } from "../provisioning/control-plane.ts";
import { Provisioner } from "../provisioning/provisioner.ts";
import type { ProvisioningRooms } from "./provisioning-rooms.ts";

/** Provisions a gateway that is defined, and keeps in the audit what was done. @throws ConfigurationError for one that is not */
export function provision(
  { definitions, database, gateways, audit, changeLog }: ProvisioningRooms,
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
      database.write(async (db) => {
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
