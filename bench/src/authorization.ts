import { authorizationCost } from "./authorization-cost.js";
import { deliveryCost } from "./delivery-cost.js";
import { printFigures } from "./figures.js";
import { revocationTimes } from "./revocation.js";

/**
 * `npm run bench:authorization`: measures the cost of authorization, and the time from a revocation
 * until its connections are closed. `ROUNDS` sets the number of revocations (default 100).
 */
const rounds = Number(process.env.ROUNDS ?? 100);
printFigures([...(await authorizationCost()), ...(await deliveryCost()), ...(await revocationTimes(rounds))]);
