import type { Figure } from "./figures.js";
import { changingGrants } from "./scenarios/changing-grants.js";
import { connectingClients } from "./scenarios/connecting-clients.js";
import { expiringGrants } from "./scenarios/expiring-grants.js";
import { failover } from "./scenarios/failover.js";
import { keepAliveGateway } from "./scenarios/keep-alive-gateway.js";
import { lostConnections } from "./scenarios/lost-connections.js";
import { movingMembers } from "./scenarios/moving-members.js";
import { refusedConnections } from "./scenarios/refused-connections.js";
import { slowSockets } from "./scenarios/slow-sockets.js";
import { starting } from "./scenarios/starting.js";
import { talkingUser } from "./scenarios/talking-user.js";

/** Runs one scenario and returns its figures. It uses only the public API, so that an older build can be measured by the same code. */
export type Scenario = () => Promise<readonly Figure[]>;

/** The scenarios of `npm run bench:load`, in the order of the table. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  starting,
  "changing-grants": changingGrants,
  "connecting-clients": connectingClients,
  "moving-members": movingMembers,
  "keep-alive-gateway": keepAliveGateway,
  "slow-sockets": slowSockets,
  "talking-user": talkingUser,
  "lost-connections": lostConnections,
  failover,
  "refused-connections": refusedConnections,
  "expiring-grants": expiringGrants,
};
