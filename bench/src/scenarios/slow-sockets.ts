import { setTimeout as sleep } from "node:timers/promises";
import { type Figure, figure } from "../figures.js";
import { GatewayProcess, p95, stamped } from "../gateway-process.js";

const READERS = 40;
const SILENT = 40;
const PER_SECOND = 10;
/** How long messages are sent in each of the two parts, in milliseconds. */
const PART_MS = 8000;
/** A frame that has not arrived this long after the last message counts as lost, in milliseconds. */
const GRACE_MS = 5000;

/** Measures a room of 40 readers, alone and with 40 sockets of one user in it that do not read. */
export async function slowSockets(): Promise<readonly Figure[]> {
  const bench = await GatewayProcess.start();
  try {
    const channel = "rooms/all";
    await bench.connect({ name: "reader", channel, sockets: READERS });
    await bench.connect({ name: "silent", channel, sockets: SILENT, isOneUser: true });
    const part = async () => {
      let sends = 0;
      await bench.take("reader");
      const until = performance.now() + PART_MS;
      for (let due = performance.now(); due < until; due += 1000 / PER_SECOND) {
        await sleep(Math.max(0, due - performance.now()));
        void bench.app.to({ channel }).send(stamped());
        sends++;
      }
      await sleep(GRACE_MS);
      const { latencies } = await bench.take("reader");
      return { p95: p95(latencies), lost: sends * READERS - latencies.length };
    };
    await part();
    const alone = await part();
    await bench.stopReading("silent");
    const beside = await part();
    return [
      figure(`p95 of ${READERS} readers, ${SILENT} other sockets read`, "ms", [alone.p95]),
      figure(`p95 of ${READERS} readers, ${SILENT} other sockets do not read`, "ms", [beside.p95]),
      figure("the same, compared", "×", [beside.p95 / alone.p95], 1.5),
      figure("frames to readers that were lost", "frames", [alone.lost + beside.lost], 0),
    ];
  } finally {
    await bench.close();
  }
}
