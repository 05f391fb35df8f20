import { setTimeout as sleep } from "node:timers/promises";
import { startLocalGateway } from "sallyport/local";
import type { Failure } from "./failures.js";
import { FailureCounts } from "./failures.js";
import { Person } from "./person.js";
import { Progress } from "./progress.js";
import { type Readings, resources, rss } from "./readings.js";
import { Stalls } from "./stalls.js";

/** Bytes that may wait for a client, so that one that stops reading is noticed soon. */
const MAX_BUFFERED_BYTES = 32_768;
const CONNECTS_AT_ONCE = 50;
const PEAK = { people: 64, fillingMs: 15_000, ms: 10_000 };
const SAMPLE_EVERY_MS = 1000;
/**
 * Time after the last answer, in milliseconds, until notices and disconnects have arrived, too, and idle HTTP connections are closed:
 * those to the Management API stay for 20 s (src/delivery/management-api.ts).
 */
const SETTLING_MS = 25_000;
/** The share of clients that stop reading at the same time. */
const SILENT_SHARE = 0.02;

/** A message from the process that measures. */
export type Order =
  | { readonly do: "connect" }
  | { readonly do: "peak" }
  | { readonly do: "work"; readonly rate: number; readonly ms: number }
  | { readonly do: "silence"; readonly ms: number }
  | { readonly do: "report connections" };

/** What this process reports of one stretch of work. */
export interface Stretch extends Readings {
  readonly answered: number;
  /** Calls that were denied, or whose connection was closed before the answer. */
  readonly denied: number;
  readonly failures: readonly Failure[];
  /** A line for each time at which this process was stalled. */
  readonly stalls: readonly string[];
}

/** The local gateway and its clients, in a process of their own. Sends its address when it is ready, and then acts on each {@link Order}. */
export async function runPeople(
  count: number,
  { appUrl, secret, textBytes }: { appUrl: string; secret: string; textBytes: number },
): Promise<void> {
  const gateway = await startLocalGateway({
    target: `${appUrl}/ws/chat/`,
    port: 0,
    secret,
    maxBufferedBytes: MAX_BUFFERED_BYTES,
  });
  const app = { url: gateway.url, appUrl, text: "x".repeat(textBytes) };
  const people = Array.from({ length: count }, (_, number) => new Person(`user-${number}`, app));
  process.once("disconnect", () => process.exit());
  process.on("message", async (order: Order) => {
    if (order.do === "silence") return stopReading(people, order.ms);
    if (order.do === "connect") {
      for (let from = 0; from < people.length; from += CONNECTS_AT_ONCE) {
        await Promise.all(people.slice(from, from + CONNECTS_AT_ONCE).map((person) => person.connect()));
      }
      process.send?.("connected");
    }
    // The users who are connected.
    if (order.do === "report connections") {
      process.send?.(people.filter((person) => person.isConnected).map(({ user }) => user));
    }
    if (order.do === "peak") process.send?.(await peakOf(people));
    if (order.do === "work") process.send?.(await keepBusy(people, order));
  });
  process.send?.({ apiId: gateway.apiId, endpoint: gateway.endpoint });
}

/** Lets people call as fast as they are answered. @returns calls per second, after rooms have filled */
async function peakOf(people: readonly Person[]): Promise<number> {
  const begun = performance.now();
  let calls = 0;
  await Promise.all(
    Array.from({ length: PEAK.people }, async () => {
      for (;;) {
        const passed = performance.now() - begun;
        if (passed > PEAK.fillingMs + PEAK.ms) return;
        await oneOf(people).live(oneOf(DEEDS));
        if (passed > PEAK.fillingMs) calls++;
      }
    }),
  );
  return calls / (PEAK.ms / 1000);
}

const DEEDS = ["ping", "ping", "ping", "ping", "ping", "join", "leave", "say"] as const;

function oneOf<Item>(items: readonly Item[]): Item {
  return items[Math.floor(Math.random() * items.length)] as Item;
}

function stopReading(people: readonly Person[], ms: number): void {
  for (let n = 0; n < people.length * SILENT_SHARE; n++) oneOf(people).stopReading(ms);
}

/** Calls at a rate per second, for a time, and then waits until nothing is under way. */
async function keepBusy(
  people: readonly Person[],
  { rate, ms }: { rate: number; ms: number },
): Promise<Stretch> {
  const until = performance.now() + ms;
  const failures = new FailureCounts();
  const stalls = new Stalls();
  let failed = 0;
  const rssMiB: number[] = [];
  const underWay = new Set<Promise<void>>();
  const sum = (of: (person: Person) => number) => people.reduce((total, person) => total + of(person), 0);
  const [answeredBefore, deniedBefore] = [sum((one) => one.answered), sum((one) => one.denied)];
  const progress = new Progress("gateway and clients", {
    answered: () => sum((one) => one.answered),
    failed: () => failed,
  });
  let lastSample = 0;
  let owed = 0;
  for (let due = performance.now(); performance.now() < until; due += 10) {
    for (owed += rate / 100; owed >= 1; owed--) {
      const done = oneOf(people)
        .live(oneOf(DEEDS))
        .catch((error: unknown) => {
          failed++;
          failures.add((error as Error).message);
        });
      underWay.add(done);
      done.finally(() => underWay.delete(done));
    }
    if (performance.now() - lastSample > SAMPLE_EVERY_MS) {
      lastSample = performance.now();
      rssMiB.push(rss());
    }
    await sleep(Math.max(0, due + 10 - performance.now()));
  }
  await Promise.all(underWay);
  await sleep(SETTLING_MS);
  const answered = sum((one) => one.answered) - answeredBefore;
  const denied = sum((one) => one.denied) - deniedBefore;
  stalls.stop();
  progress.stop();
  return {
    ...{ answered, denied, failures: failures.take(), rssMiB, atRest: resources() },
    stalls: stalls.report("the gateway with its clients"),
  };
}
