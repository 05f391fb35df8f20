import type { Audit } from "../access/audit.ts";
import type { Evictions } from "../access/evictions.ts";
import { type ChangeOptions, checkChangeOptions } from "../access/grants.ts";
import { definedAs } from "../gateways/defined-gateways.ts";
import type { GatewayDefinition } from "../gateways/definition.ts";
import type { Gateways } from "../gateways/gateways.ts";
import { ControlPlane, type ControlPlaneOptions } from "../provisioning/control-plane.ts";
import { Provisioner } from "../provisioning/provisioner.ts";
import type { Database } from "../storage/database.ts";

/** What of an app provisioning works with. */
export interface ProvisioningRooms {
  /** By name. */
  readonly definitions: ReadonlyMap<string, GatewayDefinition>;
  readonly gateways: Gateways;
  readonly database: Database;
  readonly audit: Audit;
  readonly evictions: Evictions;
}

/** Provisions a gateway that is defined, and keeps in the audit what was done. @throws ConfigurationError for one that is not */
export function provision(
  { definitions, database, gateways, audit, evictions }: ProvisioningRooms,
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
        await audit.record(db, await evictions.number(db), { action: "provision", ...options, details });
      }),
  });
}
