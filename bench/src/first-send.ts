import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { benchApp, insertConnections, prepareDatabase } from "./bench-app.js";
import { type Comparison, compare, median } from "./comparison.js";
import { sqliteDatabase } from "./database.js";
import { bareSender, CONCURRENCY, CREDENTIALS, MESSAGE, REGION, startManagementApi } from "./fanout.js";

const RECIPIENTS = 10_000;
const LATER_SENDS = 5;

/** Processor time per message in a new process, in microseconds. */
interface Reading {
  readonly first: number;
  /** Median of the sends after the first one. */
  readonly later: number;
}

/**
 * Measures the processor time of the first send of a process, in microseconds per message. The
 * baseline is a later send of such a process.
 */
export async function firstSend(): Promise<readonly Comparison[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const path = join(folder, "bench.db");
  const gateway = await startManagementApi(0);
  const storage = sqliteDatabase(path);
  const app = benchApp(storage);
  await prepareDatabase(app, storage, gateway.endpoint);
  await insertConnections(storage, 1, RECIPIENTS);
  await app.close();
  try {
    const readings = (kind: "send" | "bare", source: string) => ({
      sallyport: async () => (await inChild(kind, source)).first,
      baseline: async () => (await inChild(kind, source)).later,
    });
    return [
      await compare("first-send", "µs CPU/message", readings("send", path), { goal: { max: 1.3 } }),
      // A client that only posts shows the cost of new connections and of code that is not compiled
      // yet.
      await compare("first-send-bare", "µs CPU/message", readings("bare", gateway.endpoint)),
    ];
  } finally {
    gateway.child.kill();
    await rm(folder, { recursive: true, force: true });
  }
}

function inChild(kind: "send" | "bare", source: string): Promise<Reading> {
  const child = fork(fileURLToPath(import.meta.url), [kind, source]);
  return new Promise((resolve, reject) => {
    child.once("message", (reading) => resolve(reading as Reading));
    child.once("exit", (code) => reject(new Error(`The sending process exited with code ${code}.`)));
  });
}

async function sendRepeatedly(path: string): Promise<Reading> {
  const app = benchApp(sqliteDatabase(path), {
    apiGateway: {
      maxRequestsPerSecond: false,
      concurrency: CONCURRENCY,
      credentials: CREDENTIALS,
      region: REGION,
    },
  });
  const reading = await measure(async () => {
    const { sent } = await app.to({ channel: "rooms/all" }).send(MESSAGE);
    if (sent !== RECIPIENTS) throw new Error(`Only ${sent} of ${RECIPIENTS} messages were sent.`);
  });
  await app.close();
  return reading;
}

async function postRepeatedly(endpoint: string): Promise<Reading> {
  const sender = bareSender(endpoint, RECIPIENTS);
  const reading = await measure(() => sender.send());
  await sender.close();
  return reading;
}

async function measure(send: () => Promise<unknown>): Promise<Reading> {
  const measureOnce = async () => {
    const before = process.cpuUsage();
    await send();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / RECIPIENTS;
  };
  const first = await measureOnce();
  const later: number[] = [];
  for (let n = 0; n < LATER_SENDS; n++) later.push(await measureOnce());
  return { first, later: median(later) };
}

if (process.argv[2] === "send") process.send?.(await sendRepeatedly(process.argv[3] ?? ""));
if (process.argv[2] === "bare") process.send?.(await postRepeatedly(process.argv[3] ?? ""));
