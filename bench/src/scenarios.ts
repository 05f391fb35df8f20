import type { Figure } from "./figures.js";
import { changingGrants } from "./scenarios/changing-grants.js";
import { keepAliveGateway } from "./scenarios/keep-alive-gateway.js";
import { slowSockets } from "./scenarios/slow-sockets.js";
import { talkingUser } from "./scenarios/talking-user.js";

/** Runs one scenario and returns its figures. It uses only the public API, so that an older build can be measured by the same code. */
export type Scenario = () => Promise<readonly Figure[]>;

/** The scenarios of `npm run bench:load`, in the order of the table. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "changing-grants": changingGrants,
  "keep-alive-gateway": keepAliveGateway,
  "slow-sockets": slowSockets,
  "talking-user": talkingUser,
};
