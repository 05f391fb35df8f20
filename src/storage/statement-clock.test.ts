import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { StatementClock, TrackedConnection } from "./statement-clock.ts";

const destroyed: Error[] = [];
let clock: StatementClock;
let line: TrackedConnection;
const lost: number[] = [];
let cancelled = 0;
beforeEach(() => {
  vi.useFakeTimers();
  destroyed.length = 0;
  lost.length = 0;
  cancelled = 0;
  clock = new StatementClock((sentAt) => lost.push(sentAt));
  line = new TrackedConnection(
    {
      query: () => undefined,
      connection: { stream: { destroy: (error) => destroyed.push(error as Error) } },
    },
    () => cancelled++,
  );
  clock.add(line);
});
afterEach(() => {
  vi.useRealTimers();
});

/** Sends a statement and returns a function that answers it. */
function send(text: string, limitMs?: number): () => Promise<unknown> {
  let answer: (value: unknown) => void = () => undefined;
  const answered = new Promise((resolve) => {
    answer = resolve;
  });
  const timed = clock.time(line, text, () => answered, limitMs);
  return async () => {
    answer("answer");
    return timed;
  };
}

/** Returns the milliseconds until the connection of an unanswered statement is closed. */
async function closedAfter(text: string, limitMs?: number): Promise<number> {
  void send(text, limitMs);
  for (let ms = 0; ms < 60_000; ms += 250) {
    if (destroyed.length > 0) return ms;
    await vi.advanceTimersByTimeAsync(250);
  }
  return Number.POSITIVE_INFINITY;
}

// Two checks, 250 ms apart, must find that a statement is late.
test.each([
  ["select 1", undefined, 4250],
  ["  SELECT 1", undefined, 4250],
  ["insert into a values (1)", undefined, 5250],
  ["with x as (insert into a values (1)) select 1", undefined, 5250],
  ["select 1", 1000, 1250],
  [
    "begin; set local statement_timeout = 3000; select pg_advisory_xact_lock(1); set local statement_timeout = 10000",
    undefined,
    4250,
  ],
  [
    "begin; set local statement_timeout = 3000; select pg_advisory_xact_lock(1); select pg_advisory_xact_lock(2)",
    undefined,
    7250,
  ],
  [
    "begin; set local statement_timeout = 0; select pg_advisory_xact_lock(1)",
    undefined,
    Number.POSITIVE_INFINITY,
  ],
])("closes a connection if the answer to %j is late", async (text, limitMs, expected) => {
  expect(await closedAfter(text, limitMs)).toBe(expected);
  if (expected === Number.POSITIVE_INFINITY) return;
  expect(destroyed[0]).toMatchObject({ code: "ETIMEDOUT" });
  expect(line.lost).toBe(destroyed[0]);
  // The server cancels the statements of a transaction itself.
  expect(cancelled).toBe(text.startsWith("begin") || limitMs !== undefined ? 0 : 1);
  expect(lost).toHaveLength(1);
});

test("a statement in a transaction has the limit of the transaction, also if it reads", async () => {
  await send(
    "begin; set local statement_timeout = 3000; select pg_advisory_xact_lock(1); set local statement_timeout = 10000",
  )();
  expect(line.isInTransaction).toBe(true);
  await send("select 1")();
  await send("commit")();
  expect(line.isInTransaction).toBe(false);
  await send("begin; set local statement_timeout = 3000; insert into a values (1); rollback")();
  expect(line.isInTransaction).toBe(false);
  await send("begin; set local statement_timeout = 10000")();
  expect(await closedAfter("select 1")).toBe(11_250);
});

test("a statement that is answered in time closes nothing, and leaves no timer", async () => {
  for (let times = 0; times < 3; times++) {
    const answer = send("select 1");
    await vi.advanceTimersByTimeAsync(3900);
    expect(await answer()).toBe("answer");
  }
  await vi.advanceTimersByTimeAsync(60_000);
  expect(destroyed).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

test("a statement that the server cancels marks only its own connection as lost", async () => {
  let fail: (error: Error) => void = () => undefined;
  const answer = new Promise((_resolve, reject) => {
    fail = reject;
  });
  const timed = clock.time(line, "select 1", () => answer);
  await vi.advanceTimersByTimeAsync(3250);
  expect(cancelled).toBe(0);
  await vi.advanceTimersByTimeAsync(250);
  expect(cancelled).toBe(1);
  fail(Object.assign(new Error("canceling statement due to user request"), { code: "57014" }));
  await expect(timed).rejects.toThrow("The server did not finish a statement within 3250 ms");
  await vi.advanceTimersByTimeAsync(60_000);
  expect([destroyed, lost]).toEqual([[], []]);
  expect(line.lost).toMatchObject({ code: "57014" });
});
