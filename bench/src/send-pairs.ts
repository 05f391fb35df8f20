import { join, resolve } from "node:path";
import { median } from "./comparison.js";
import { sallyportSender, startManagementApi } from "./fanout.js";

/**
 * `npm run bench:send -- ../other-checkout`: compares the processor time of a send with that of the
 * package which was built in another checkout.
 *
 * Both run in turn in one process, so that changes in the speed of the machine affect both.
 */
const RECIPIENTS = 10_000;
const ROUNDS = 40;
const WARM_UP_ROUNDS = 3;

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("Name the folder of another checkout in which `npm run build` was run.");
  process.exit(1);
}
const other: typeof import("./fanout.js") = await import(join(resolve(folder), "bench/dist/fanout.js"));

const { child, endpoint } = await startManagementApi(0);
const senders = {
  own: await sallyportSender(endpoint, RECIPIENTS),
  other: await other.sallyportSender(endpoint, RECIPIENTS),
};
const readings = { own: [] as number[], other: [] as number[] };
const ratios: number[] = [];
for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
  const order = round % 2 === 0 ? (["own", "other"] as const) : (["other", "own"] as const);
  const costs = { own: 0, other: 0 };
  for (const name of order) costs[name] = await cpuPerMessage(senders[name].send);
  if (round < 0) continue;
  readings.own.push(costs.own);
  readings.other.push(costs.other);
  ratios.push(costs.other / costs.own);
}
const sorted = ratios.sort((one, next) => one - next);
const [low, high] = [sorted[ROUNDS / 4], sorted[(ROUNDS * 3) / 4]].map((ratio) => ratio?.toFixed(2));
console.log(`own    ${median(readings.own).toFixed(1)} µs per message`);
console.log(`other  ${median(readings.other).toFixed(1)} µs per message`);
console.log(`ratio  ${median(ratios).toFixed(2)}, half of the pairs from ${low} to ${high}`);
await Promise.all([senders.own.close(), senders.other.close()]);
child.kill();

/** Returns the processor time of a send, in microseconds per message. */
async function cpuPerMessage(send: () => Promise<number>): Promise<number> {
  const before = process.cpuUsage();
  await send();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / RECIPIENTS;
}
