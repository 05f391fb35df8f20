import { IDLE_TIMEOUT_MS, MAX_CONNECTION_MS } from "../../../src/protocol/quotas.ts";
import type { Check, Observation } from "../check.ts";
import type { Client } from "../client.ts";
import { PROBE_ROUTE } from "../names.ts";
import { stopwatch } from "../timing.ts";

const PING_MS = 60_000;
/** Shorter than the idle timeout, so that only the maximum duration closes the connection. */
const MESSAGE_MS = 5 * 60_000;
const MARGIN_MS = 5 * 60_000;

/** Waits until a connection is closed, and calls a function at intervals until then. */
async function closingOf(
  client: Client,
  limitMs: number,
  everyMs: number,
  keepAlive: () => unknown,
): Promise<Observation> {
  const elapsed = stopwatch();
  const timer = setInterval(keepAlive, everyMs);
  try {
    const { code, reason } = await client.closed(limitMs + MARGIN_MS);
    return {
      recorded: "1001 Going away",
      seen: `${code} ${reason}`,
      note: `after ${(elapsed() / 60_000).toFixed(1)} min`,
    };
  } finally {
    clearInterval(timer);
  }
}

/** Checks that take minutes or hours. */
export const DURATION: readonly Check[] = [
  {
    fact: "idle-timeout",
    name: "a connection without messages is closed after 10 minutes",
    isLong: true,
    run: async (bench) => closingOf(await bench.raw(), IDLE_TIMEOUT_MS, PING_MS, () => undefined),
  },
  {
    fact: "ping-idle",
    name: "pings do not extend the idle timeout",
    isLong: true,
    async run(bench) {
      const client = await bench.raw();
      return closingOf(client, IDLE_TIMEOUT_MS, PING_MS, () => client.socket.ping());
    },
  },
  {
    fact: "max-duration",
    name: "a connection with messages is closed after 2 hours",
    isLong: true,
    async run(bench) {
      const client = await bench.raw();
      const message = { action: PROBE_ROUTE, probe: { kind: "length" } };
      return closingOf(client, MAX_CONNECTION_MS, MESSAGE_MS, () => client.send(message));
    },
  },
];
