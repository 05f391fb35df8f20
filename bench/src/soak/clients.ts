import { setTimeout as sleep } from "node:timers/promises";
import { startLocalGateway } from "sallyport/local";
import type { Failure } from "./failures.js";
import { FailureCounts } from "./failures.js";
import { Progress } from "./progress.js";
import { type Readings, resources, rssMiB } from "./readings.js";
import { SoakClient } from "./soak-client.js";
import { Stalls } from "./stalls.js";

/**
 * Maximum bytes in the buffer of a client. It is small, so that a client that stops reading soon
 * causes errors.
 */
const MAX_BUFFERED_BYTES = 32_768;
/** Number of clients that connect at the same time. */
const BATCH_SIZE = 50;
/** The measurement of the peak rate. It starts after the channels have filled. */
const PEAK = { concurrency: 64, warmUpMs: 15_000, durationMs: 10_000 };
const SAMPLE_INTERVAL_MS = 1000;
/**
 * Time to wait after the last response, in milliseconds, for notices, disconnects and idle HTTP
 * connections. Connections to the Management API stay open for 20 s
 * (src/delivery/management-api.ts).
 */
const IDLE_MS = 25_000;
/** Share of clients that stop reading at the same time. */
const STOPPED_SHARE = 0.02;

/** A command from the parent process. */
export type Command =
  | { readonly do: "connect" }
  | { readonly do: "reconnect" }
  | { readonly do: "measure peak" }
  | { readonly do: "run load"; readonly rate: number; readonly durationMs: number }
  | { readonly do: "stop reading"; readonly durationMs: number }
  | { readonly do: "report connected users" };

/** The results of a load phase. */
export interface LoadResult extends Readings {
  /** Number of successful calls. */
  readonly succeeded: number;
  /** Number of calls that were denied, or that ended because the connection was closed. */
  readonly denied: number;
  readonly failures: readonly Failure[];
  /** A line for each stall of this process. */
  readonly stalls: readonly string[];
}

/**
 * Runs the local gateway and its clients in a child process. Sends the address of the gateway when
 * it is ready, and then runs each {@link Command}.
 *
 * @param count number of clients
 */
export async function runClients(
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
  const clients = Array.from({ length: count }, (_, number) => new SoakClient(`user-${number}`, app));
  process.once("disconnect", () => process.exit());
  process.on("message", async (command: Command) => {
    if (command.do === "stop reading") return stopReading(clients, command.durationMs);
    if (command.do === "connect") {
      for (let from = 0; from < clients.length; from += BATCH_SIZE) {
        await Promise.all(clients.slice(from, from + BATCH_SIZE).map((client) => client.connect()));
      }
      process.send?.("connected");
    }
    if (command.do === "reconnect") {
      const closed = clients.filter(({ isConnected }) => !isConnected);
      for (let from = 0; from < closed.length; from += BATCH_SIZE) {
        // A client without the permission is denied.
        await Promise.allSettled(closed.slice(from, from + BATCH_SIZE).map((client) => client.connect()));
      }
      process.send?.("reconnected");
    }
    if (command.do === "report connected users") {
      process.send?.(clients.filter((client) => client.isConnected).map(({ user }) => user));
    }
    if (command.do === "measure peak") process.send?.(await measurePeak(clients));
    if (command.do === "run load") process.send?.(await runLoad(clients, command));
  });
  process.send?.({ apiId: gateway.apiId, endpoint: gateway.endpoint });
}

/** Sends calls without a pause, and returns the number of calls per second. */
async function measurePeak(clients: readonly SoakClient[]): Promise<number> {
  const startedAt = performance.now();
  let calls = 0;
  await Promise.all(
    Array.from({ length: PEAK.concurrency }, async () => {
      for (;;) {
        const elapsedMs = performance.now() - startedAt;
        if (elapsedMs > PEAK.warmUpMs + PEAK.durationMs) return;
        await randomItem(clients).callOrReconnect(randomItem(HANDLERS));
        if (elapsedMs > PEAK.warmUpMs) calls++;
      }
    }),
  );
  return calls / (PEAK.durationMs / 1000);
}

/** The handlers to choose from. A repeated handler is called more often. */
const HANDLERS = ["ping", "ping", "ping", "ping", "ping", "join", "leave", "say"] as const;

function randomItem<Item>(items: readonly Item[]): Item {
  return items[Math.floor(Math.random() * items.length)] as Item;
}

function stopReading(clients: readonly SoakClient[], durationMs: number): void {
  for (let n = 0; n < clients.length * STOPPED_SHARE; n++) randomItem(clients).stopReading(durationMs);
}

/**
 * Sends calls, and then waits until no call is in flight and idle resources are closed.
 *
 * @param options.rate calls per second
 * @param options.durationMs how long calls are sent, in milliseconds
 */
async function runLoad(
  clients: readonly SoakClient[],
  { rate, durationMs }: { rate: number; durationMs: number },
): Promise<LoadResult> {
  const until = performance.now() + durationMs;
  const failures = new FailureCounts();
  const stalls = new Stalls();
  let failed = 0;
  const memory: number[] = [];
  const inFlight = new Set<Promise<void>>();
  const sum = (count: (client: SoakClient) => number) =>
    clients.reduce((total, client) => total + count(client), 0);
  const sumSucceeded = () => sum(({ succeeded }) => succeeded);
  const sumDenied = () => sum(({ denied }) => denied);
  const [succeededBefore, deniedBefore] = [sumSucceeded(), sumDenied()];
  const progress = new Progress("gateway and clients", {
    succeeded: sumSucceeded,
    failed: () => failed,
  });
  let lastSample = 0;
  let dueCalls = 0;
  for (let due = performance.now(); performance.now() < until; due += 10) {
    for (dueCalls += rate / 100; dueCalls >= 1; dueCalls--) {
      const done = randomItem(clients)
        .callOrReconnect(randomItem(HANDLERS))
        .catch((error: unknown) => {
          failed++;
          failures.add((error as Error).message);
        });
      inFlight.add(done);
      done.finally(() => inFlight.delete(done));
    }
    if (performance.now() - lastSample > SAMPLE_INTERVAL_MS) {
      lastSample = performance.now();
      memory.push(rssMiB());
    }
    await sleep(Math.max(0, due + 10 - performance.now()));
  }
  await Promise.all(inFlight);
  await sleep(IDLE_MS);
  const succeeded = sumSucceeded() - succeededBefore;
  const denied = sumDenied() - deniedBefore;
  stalls.stop();
  progress.stop();
  return {
    succeeded,
    denied,
    failures: failures.take(),
    rssMiB: memory,
    idle: resources(),
    stalls: stalls.report("the process of the gateway and the clients"),
  };
}
