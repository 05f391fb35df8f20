import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EnforcementLoop } from "./enforcement-loop.ts";

let looks: number;
let enforced: number;
let isChanged: boolean;
let isFull: boolean;
let held: Promise<void> | undefined;
let wake: () => void;
let ended: number;
let loop: EnforcementLoop;

beforeEach(() => {
  vi.useFakeTimers();
  [looks, enforced, ended, isChanged, isFull, held] = [0, 0, 0, false, false, undefined];
  const database = {
    changedElsewhere: async () => {
      looks++;
      await held;
      return isChanged;
    },
    listen: (woken: () => void) => {
      wake = woken;
      return async () => void ended++;
    },
  };
  const rooms = {
    database,
    decisionLog: { settleWhenDue: async () => undefined, sweep: async () => undefined },
    endedSessions: { sweep: async () => undefined },
    activity: { writeWhenDue: async () => undefined },
    changeLog: { since: async () => ({ number: 0, subjects: [] }) },
    changedSubjects: { mark: () => undefined },
  };
  const enforcer = {
    get isFull() {
      return isFull;
    },
    enforce: async () => {
      enforced++;
      return 0;
    },
  };
  loop = new EnforcementLoop(rooms as never, enforcer as never);
});
afterEach(() => {
  vi.useRealTimers();
});

/** How often it looks in a time. */
async function looksIn(ms: number): Promise<number> {
  const before = looks;
  await vi.advanceTimersByTimeAsync(ms);
  return looks - before;
}

test("looks four times a second, and enforces what it finds once in three looks even so", async () => {
  loop.start();
  loop.start();
  expect(await looksIn(3000)).toBe(12);
  expect(enforced).toBe(4);
});

test("looks at once when it is woken, whether or not the database tells a change", async () => {
  loop.start();
  await looksIn(260);
  enforced = 0;
  await looksIn(120);
  wake();
  expect(await looksIn(15)).toBe(1);
  expect(enforced).toBe(1);
});

test("looks ten times a second at most, however often it is woken", async () => {
  loop.start();
  await looksIn(250);
  const before = looks;
  for (let ms = 0; ms < 2000; ms++) {
    wake();
    await vi.advanceTimersByTimeAsync(1);
  }
  expect(looks - before).toBeGreaterThanOrEqual(18);
  expect(looks - before).toBeLessThanOrEqual(20);
});

test("looks again when it is woken while it looks", async () => {
  let goOn = () => {};
  loop.start();
  held = new Promise((resolve) => {
    goOn = resolve;
  });
  await looksIn(250);
  wake();
  expect(await looksIn(5000)).toBe(0);
  goOn();
  expect(await looksIn(15)).toBe(1);
});

test("begins nothing where there is no room for one more record", async () => {
  [isFull, isChanged] = [true, true];
  loop.start();
  await looksIn(1000);
  expect(enforced).toBe(0);
});

test("ended, it looks no more, listens no more, and cannot be woken or started again", async () => {
  loop.start();
  await looksIn(250);
  await loop.stop();
  wake();
  loop.start();
  expect(await looksIn(5000)).toBe(0);
  expect(ended).toBe(1);
});

describe("paused", () => {
  const timers = () => vi.getTimerCount();

  test("it keeps no timer, listens no more and cannot be woken, until it is started again", async () => {
    loop.start();
    await looksIn(250);
    const former = wake;
    await loop.pause();
    expect([timers(), ended]).toEqual([0, 1]);
    former();
    expect([await looksIn(5000), timers()]).toEqual([0, 0]);
    loop.start();
    expect(await looksIn(1120)).toBe(4);
    wake();
    expect(await looksIn(15)).toBe(1);
  });

  test("while it looks it waits for that look, and begins no other", async () => {
    let goOn = () => {};
    loop.start();
    held = new Promise((resolve) => {
      goOn = resolve;
    });
    await looksIn(250);
    let isPaused = false;
    const pausing = loop.pause().then(() => {
      isPaused = true;
    });
    wake();
    await looksIn(1000);
    expect(isPaused).toBe(false);
    goOn();
    await pausing;
    expect([await looksIn(5000), timers()]).toEqual([0, 0]);
  });

  test("and started meanwhile, it goes on", async () => {
    loop.start();
    await looksIn(100);
    const pausing = loop.pause();
    loop.start();
    await pausing;
    expect(await looksIn(1000)).toBe(4);
  });

  test("and ended, it stays so", async () => {
    loop.start();
    const pausing = loop.pause();
    await loop.stop();
    await pausing;
    loop.start();
    expect([await looksIn(1000), timers()]).toEqual([0, 0]);
  });
});
