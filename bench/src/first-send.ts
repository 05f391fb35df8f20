import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sqlite } from "sallyport/storage/sqlite";
import { benchApp, openSessions, prepare } from "./bench-app.js";
import { bareSend, CONCURRENCY, CREDENTIALS, MESSAGE, REGION, startManagementApi } from "./fanout.js";
import { median, pair, type Row } from "./pairs.js";

const RECIPIENTS = 10_000;
const LATER_SENDS = 5;

/** Processor time per message, in microseconds, of a process that has just started. */
interface Reading {
  readonly first: number;
  /** Median of the sends that follow. */
  readonly later: number;
}

/** The processor time of the first send of a process, compared with its later sends. */
export async function firstSend(): Promise<readonly Row[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const path = join(folder, "bench.db");
  const gateway = await startManagementApi(0);
  const storage = sqlite(path);
  const app = benchApp(storage);
  await prepare(app, storage, gateway.endpoint);
  await openSessions(storage, 1, RECIPIENTS);
  await app.close();
  try {
    const readings = (kind: "send" | "bare", source: string) => ({
      ours: async () => (await inChild(kind, source)).first,
      floor: async () => (await inChild(kind, source)).later,
    });
    return [
      await pair("first-send", "µs CPU/message", readings("send", path), { promise: { most: 1.3 } }),
      // The same for a client that only posts: it shows the cost of connections and of code that is not compiled yet.
      await pair("first-send-bare", "µs CPU/message", readings("bare", gateway.endpoint)),
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
    child.once("exit", (code) => reject(new Error(`The process that sends ended with code ${code}.`)));
  });
}

async function sendRepeatedly(path: string): Promise<Reading> {
  const app = benchApp(sqlite(path), {
    apiGateway: {
      maxRequestsPerSecond: false,
      concurrency: CONCURRENCY,
      credentials: CREDENTIALS,
      region: REGION,
    },
  });
  const reading = await measure(async () => {
    const { sent } = await app.to({ channel: "rooms/all" }).send(MESSAGE);
    if (sent !== RECIPIENTS) throw new Error(`only ${sent} of ${RECIPIENTS} were sent`);
  });
  await app.close();
  return reading;
}

async function postRepeatedly(endpoint: string): Promise<Reading> {
  const bare = bareSend(endpoint, RECIPIENTS);
  const reading = await measure(() => bare.send());
  await bare.close();
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
