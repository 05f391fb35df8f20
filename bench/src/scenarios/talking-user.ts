import { setTimeout as sleep } from "node:timers/promises";
import { type Figure, figure } from "../figures.js";
import { GatewayProcess, p95, stamped } from "../gateway-process.js";

const MEMBERS = 2000;
const TALKING_SOCKETS = 4;
/** Messages of each talking socket. */
const PER_SECOND = 30;
const TALKING_MS = 20_000;
const QUIET_MS = 5000;
/** Members of the other room, and messages sent to it. */
const OTHERS = 20;
const OTHER_PER_SECOND = 5;
const SAMPLE_EVERY_MS = 100;

/** Measures memory, and what other users notice, while one user sends 120 messages per second to a room of 2 000. */
export async function talkingUser(): Promise<readonly Figure[]> {
  const bench = await GatewayProcess.start();
  try {
    await bench.connect({ name: "member", channel: "rooms/large", sockets: MEMBERS });
    await bench.connect({
      name: "talker",
      channel: "rooms/large",
      sockets: TALKING_SOCKETS,
      isOneUser: true,
    });
    await bench.connect({ name: "other", channel: "rooms/small", sockets: OTHERS });
    const others = async (ms: number) => {
      await bench.take("other");
      const pings = bench.talk({ group: "other", handler: "ping", perSecond: 1, ms });
      const until = performance.now() + ms;
      for (let due = performance.now(); due < until; due += 1000 / OTHER_PER_SECOND) {
        await sleep(Math.max(0, due - performance.now()));
        void bench.app.to({ channel: "rooms/small" }).send(stamped());
      }
      await pings;
      await sleep(2000);
      const { latencies, answers } = await bench.take("other");
      const sent = Math.ceil((ms / 1000) * OTHER_PER_SECOND) * OTHERS;
      return { room: p95(latencies), ping: p95(answers), lost: sent - latencies.length };
    };
    await others(QUIET_MS / 2);
    const quiet = await others(QUIET_MS);
    globalThis.gc?.();
    const before = rssMiB();
    let most = before;
    const sampling = setInterval(() => {
      most = Math.max(most, rssMiB());
    }, SAMPLE_EVERY_MS);
    const [busy] = await Promise.all([
      others(TALKING_MS),
      bench.talk({ group: "talker", handler: "say", perSecond: PER_SECOND, ms: TALKING_MS }),
    ]);
    clearInterval(sampling);
    const { statuses } = await bench.take("talker");
    const { latencies } = await bench.take("member");
    return [
      figure("memory added by one talking user", "MiB", [most - before], 150),
      figure("p95 of another room, quiet", "ms", [quiet.room]),
      figure("p95 of another room, one user talks", "ms", [busy.room]),
      figure("the same, compared", "×", [busy.room / quiet.room], 2),
      figure("p95 of another user's ping, quiet", "ms", [quiet.ping]),
      figure("p95 of another user's ping, one user talks", "ms", [busy.ping]),
      figure("frames to the other room that were late by 2 s", "frames", [quiet.lost + busy.lost], 0),
      figure("messages of the talking user that were answered with 200", "messages", [statuses["200"] ?? 0]),
      figure("messages of the talking user that were answered with 429", "messages", [statuses["429"] ?? 0]),
      figure("frames to the large room", "frames", [latencies.length]),
    ];
  } finally {
    await bench.close();
  }
}

function rssMiB(): number {
  return process.memoryUsage.rss() / 2 ** 20;
}
