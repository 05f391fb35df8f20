import type { Figure } from "./figures.js";
import { changingGrants } from "./scenarios/changing-grants.js";
import { connectingClients } from "./scenarios/connecting-clients.js";
import { decisionSweep } from "./scenarios/decision-sweep.js";
import { expiringGrants } from "./scenarios/expiring-grants.js";
import { failover } from "./scenarios/failover.js";
import { importCpu } from "./scenarios/import-cpu.js";
import { keepAliveGateway } from "./scenarios/keep-alive-gateway.js";
import { lambdaMessages } from "./scenarios/lambda-messages.js";
import { lostConnections } from "./scenarios/lost-connections.js";
import { movingMembers } from "./scenarios/moving-members.js";
import { noisyUser } from "./scenarios/noisy-user.js";
import { permissionHolders } from "./scenarios/permission-holders.js";
import { previews } from "./scenarios/previews.js";
import { refusedConnections } from "./scenarios/refused-connections.js";
import { slowSockets } from "./scenarios/slow-sockets.js";
import { unrelatedChanges } from "./scenarios/unrelated-changes.js";

/**
 * Runs one scenario and returns its figures. A scenario imports only the entry points of the
 * package, so that it can measure an older build.
 */
export type Scenario = () => Promise<readonly Figure[]>;

/** The scenarios of `npm run bench:load`, in the order of the table. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "import-cpu": importCpu,
  "changing-grants": changingGrants,
  "unrelated-changes": unrelatedChanges,
  "connecting-clients": connectingClients,
  "moving-members": movingMembers,
  "keep-alive-gateway": keepAliveGateway,
  "slow-sockets": slowSockets,
  "noisy-user": noisyUser,
  "lost-connections": lostConnections,
  failover,
  "refused-connections": refusedConnections,
  "expiring-grants": expiringGrants,
  previews,
  "permission-holders": permissionHolders,
  "lambda-messages": lambdaMessages,
  "decision-sweep": decisionSweep,
};
