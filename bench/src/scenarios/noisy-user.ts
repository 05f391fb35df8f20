import { setTimeout as sleep } from "node:timers/promises";
import { type Figure, figure } from "../figures.js";
import { GatewayProcess, p95, timestampedFrame } from "../gateway-process.js";

const MEMBERS = 2000;
const NOISY_SOCKETS = 4;
/** Messages per second of each socket of the noisy user. */
const MESSAGES_PER_SECOND = 30;
const NOISY_MS = 20_000;
const QUIET_MS = 5000;
/** Number of members of the other channel. */
const OTHERS = 20;
/** Number of sends per second to the other channel. */
const OTHER_SENDS_PER_SECOND = 5;
const SAMPLE_INTERVAL_MS = 100;

/**
 * Measures memory, and the latency for other users, while one user sends 120 messages per second to
 * a channel of 2 000 members.
 */
export async function noisyUser(): Promise<readonly Figure[]> {
  const bench = await GatewayProcess.start();
  try {
    await bench.connect({ name: "member", channel: "rooms/large", sockets: MEMBERS });
    await bench.connect({
      name: "noisy",
      channel: "rooms/large",
      sockets: NOISY_SOCKETS,
      isOneUser: true,
    });
    await bench.connect({ name: "other", channel: "rooms/small", sockets: OTHERS });
    const measureOthers = async (durationMs: number) => {
      await bench.takeReceived("other");
      const pings = bench.sendCalls({ group: "other", handler: "ping", perSecond: 1, durationMs });
      const until = performance.now() + durationMs;
      for (let due = performance.now(); due < until; due += 1000 / OTHER_SENDS_PER_SECOND) {
        await sleep(Math.max(0, due - performance.now()));
        void bench.app.to({ channel: "rooms/small" }).send(timestampedFrame());
      }
      await pings;
      await sleep(2000);
      const { latencies, callTimes } = await bench.takeReceived("other");
      const sent = Math.ceil((durationMs / 1000) * OTHER_SENDS_PER_SECOND) * OTHERS;
      return { channel: p95(latencies), ping: p95(callTimes), late: sent - latencies.length };
    };
    await measureOthers(QUIET_MS / 2);
    const quiet = await measureOthers(QUIET_MS);
    globalThis.gc?.();
    const before = rssMiB();
    let peak = before;
    const sampling = setInterval(() => {
      peak = Math.max(peak, rssMiB());
    }, SAMPLE_INTERVAL_MS);
    const [busy] = await Promise.all([
      measureOthers(NOISY_MS),
      bench.sendCalls({
        group: "noisy",
        handler: "say",
        perSecond: MESSAGES_PER_SECOND,
        durationMs: NOISY_MS,
      }),
    ]);
    clearInterval(sampling);
    const { statuses } = await bench.takeReceived("noisy");
    const { latencies } = await bench.takeReceived("member");
    return [
      figure("memory added by one noisy user", "MiB", [peak - before], 150),
      figure("p95 of another channel, no noisy user", "ms", [quiet.channel]),
      figure("p95 of another channel, one noisy user", "ms", [busy.channel]),
      figure("ratio of the two", "×", [busy.channel / quiet.channel], 2),
      figure("p95 of another user's ping, no noisy user", "ms", [quiet.ping]),
      figure("p95 of another user's ping, one noisy user", "ms", [busy.ping]),
      figure("frames to the other channel that were late by 2 s", "frames", [quiet.late + busy.late], 0),
      figure("messages of the noisy user with status 200", "messages", [statuses["200"] ?? 0]),
      figure("messages of the noisy user with status 429", "messages", [statuses["429"] ?? 0]),
      figure("frames to the large channel", "frames", [latencies.length]),
    ];
  } finally {
    await bench.close();
  }
}

function rssMiB(): number {
  return process.memoryUsage.rss() / 2 ** 20;
}
