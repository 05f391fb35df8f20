import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Outcome, Recipient } from "../delivery/delivery.ts";
import { UnfinishedCloses } from "./unfinished-closes.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const FAILED: Outcome = { kind: "failed", reason: "status 500" };

const connection = (endpoint: string, n: number): Recipient => ({
  connectionKey: `${endpoint} ${n}`,
  userId: "ann",
  connectionId: `${n}`,
  endpoint,
  connectedAt: 0,
});

/** Sets up closes that fail for the endpoints in `failing`. */
function setUp() {
  const failing = new Set<string>();
  const closed: string[] = [];
  const errors: string[] = [];
  const disconnected = new Set<string>();
  const delivery = {
    isAllStopped: false,
    close: async ({ endpoint, connectionKey }: Recipient): Promise<Outcome> => {
      if (failing.has(endpoint)) return FAILED;
      closed.push(connectionKey);
      return { kind: "sent" };
    },
  };
  const closes = new UnfinishedCloses({
    delivery,
    connections: { isConnected: async (id) => !disconnected.has(id) },
    onError: (error, where) => errors.push(`${where}: ${error}`),
  });
  return { failing, closed, errors, disconnected, delivery, closes };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test("a close is retried until it succeeds, and then no more", async () => {
  const { closes, closed, failing } = setUp();
  failing.add("a");
  expect(closes.keepFailed(connection("a", 1), FAILED)).toBe(true);
  await pass(20_000);
  expect(closed).toEqual([]);
  failing.clear();
  await pass(60_000);
  expect(closed).toEqual(["a 1"]);
  expect(vi.getTimerCount()).toBe(0);
});

test("an endpoint that fails does not delay the closes of another endpoint", async () => {
  const { closes, closed, failing } = setUp();
  failing.add("a");
  for (let n = 0; n < 1000; n++) closes.keepFailed(connection("a", n), FAILED);
  for (let n = 0; n < 5; n++) closes.keepFailed(connection("b", n), FAILED);
  await pass(1000);
  expect(closed).toEqual(["b 0", "b 1", "b 2", "b 3", "b 4"]);
});

test("a client that has disconnected by itself is not closed", async () => {
  const { closes, closed, disconnected } = setUp();
  disconnected.add("a 1");
  closes.keepFailed(connection("a", 1), FAILED);
  await pass(60_000);
  expect(closed).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

test("connections that an endpoint fails to close for ten minutes are reported and dropped", async () => {
  const { closes, errors, failing } = setUp();
  failing.add("a");
  for (let n = 0; n < 100; n++) closes.keepFailed(connection("a", n), FAILED);
  await pass(590_000);
  expect(errors).toEqual([]);
  await pass(30_000);
  expect(errors).toHaveLength(100);
  expect(errors[0]).toMatch(
    /^closing connection 0: Error: API Gateway did not close the connection for 10 minutes/,
  );
  expect(vi.getTimerCount()).toBe(0);
});

test("keeps at most 10 000 connections, and drops them when the app closes", async () => {
  const { closes, closed, delivery, failing } = setUp();
  failing.add("a");
  for (let n = 0; n < 10_000; n++) expect(closes.keepFailed(connection("a", n), FAILED)).toBe(true);
  expect(closes.keepFailed(connection("a", 10_000), FAILED)).toBe(false);
  expect(closes.keepFailed(connection("a", 7), FAILED)).toBe(true);
  delivery.isAllStopped = true;
  await pass(60_000);
  expect(closed).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});
