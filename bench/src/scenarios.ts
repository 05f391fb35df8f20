import type { Figure } from "./figures.js";
import { changingGrants } from "./scenarios/changing-grants.js";
import { expiringGrants } from "./scenarios/expiring-grants.js";
import { failover } from "./scenarios/failover.js";
import { lostConnections } from "./scenarios/lost-connections.js";
import { refusedConnections } from "./scenarios/refused-connections.js";

/** Runs one scenario and returns its figures. It uses only the public API, so that an older build can be measured by the same code. */
export type Scenario = () => Promise<readonly Figure[]>;

/** The scenarios of `npm run bench:load`, in the order of the table. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "changing-grants": changingGrants,
  "lost-connections": lostConnections,
  failover,
  "refused-connections": refusedConnections,
  "expiring-grants": expiringGrants,
};
