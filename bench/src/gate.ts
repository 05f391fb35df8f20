import { checks } from "./checks.js";
import { deliveryCost } from "./delivery-cost.js";
import { evictionTimes } from "./eviction.js";
import { print } from "./figures.js";

/** `npm run bench:gate`: what the gate costs, and how soon a lost right has closed its sockets. */
const rounds = Number(process.env.ROUNDS ?? 100);
print([...(await checks()), ...(await deliveryCost()), ...(await evictionTimes(rounds))]);
