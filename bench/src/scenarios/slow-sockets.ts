import { setTimeout as sleep } from "node:timers/promises";
import { type Figure, figure } from "../figures.js";
import { GatewayProcess, p95, timestampedFrame } from "../gateway-process.js";

const READERS = 40;
const OTHERS = 40;
const SENDS_PER_SECOND = 10;
/** Duration of each part, in milliseconds. */
const PART_MS = 8000;
/** Time after the last send until a missing frame counts as lost, in milliseconds. */
const GRACE_MS = 5000;

/**
 * Measures the latency for 40 readers of a channel in which 40 sockets of another user stop
 * reading.
 */
export async function slowSockets(): Promise<readonly Figure[]> {
  const bench = await GatewayProcess.start();
  try {
    const channel = "rooms/all";
    await bench.connect({ name: "reader", channel, sockets: READERS });
    await bench.connect({ name: "other", channel, sockets: OTHERS, isOneUser: true });
    const runPart = async () => {
      let sends = 0;
      await bench.takeReceived("reader");
      const until = performance.now() + PART_MS;
      for (let due = performance.now(); due < until; due += 1000 / SENDS_PER_SECOND) {
        await sleep(Math.max(0, due - performance.now()));
        void bench.app.to({ channel }).send(timestampedFrame());
        sends++;
      }
      await sleep(GRACE_MS);
      const { latencies } = await bench.takeReceived("reader");
      return { p95: p95(latencies), lost: sends * READERS - latencies.length };
    };
    await runPart();
    const allRead = await runPart();
    await bench.stopReading("other");
    const othersStopped = await runPart();
    return [
      figure(`p95 of ${READERS} readers, ${OTHERS} other sockets read`, "ms", [allRead.p95]),
      figure(`p95 of ${READERS} readers, ${OTHERS} other sockets do not read`, "ms", [othersStopped.p95]),
      figure("ratio of the two", "×", [othersStopped.p95 / allRead.p95], 1.5),
      figure("frames to readers that were lost", "frames", [allRead.lost + othersStopped.lost], 0),
    ];
  } finally {
    await bench.close();
  }
}
