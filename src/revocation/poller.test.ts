import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { RevocationPoller } from "./poller.ts";

let polls: number;
let enforced: number;
let restored: number;
let isChanged: boolean;
let isFull: boolean;
let held: Promise<void> | undefined;
let wake: () => void;
let ended: number;
let loop: RevocationPoller;

beforeEach(() => {
  vi.useFakeTimers();
  restored = 0;
  [polls, enforced, ended, isChanged, isFull, held] = [0, 0, 0, false, false, undefined];
  const storage = {
    pollExternalChanges: async () => {
      polls++;
      await held;
      return isChanged;
    },
    listen: (woken: () => void) => {
      wake = woken;
      return async () => void ended++;
    },
  };
  const services = {
    store: { changes: { since: async () => ({ number: 0, subjects: [] }) } },
    changedSubjects: { mark: () => undefined },
  };
  const worker = {
    get isFull() {
      return isFull;
    },
    restore: () => {
      restored++;
    },
    enforce: async () => {
      enforced++;
      return 0;
    },
  };
  loop = new RevocationPoller(services as never, worker as never, {
    storage: storage as never,
    periodicWork: async () => undefined,
  });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Returns the number of polls within a time. */
async function pollsIn(ms: number): Promise<number> {
  const before = polls;
  await vi.advanceTimersByTimeAsync(ms);
  return polls - before;
}

test("polls four times per second, and enforces on every third poll without a change", async () => {
  loop.start();
  loop.start();
  expect(await pollsIn(3000)).toBe(12);
  expect(enforced).toBe(4);
});

test("polls immediately after a notification, and enforces although no change is reported", async () => {
  loop.start();
  await pollsIn(260);
  enforced = 0;
  await pollsIn(120);
  wake();
  expect(await pollsIn(15)).toBe(1);
  expect(enforced).toBe(1);
});

test("polls at most ten times per second, for any number of notifications", async () => {
  loop.start();
  await pollsIn(250);
  const before = polls;
  for (let ms = 0; ms < 2000; ms++) {
    wake();
    await vi.advanceTimersByTimeAsync(1);
  }
  expect(polls - before).toBeGreaterThanOrEqual(18);
  expect(polls - before).toBeLessThanOrEqual(20);
});

test("polls again after a notification during a poll", async () => {
  let finish = () => {};
  loop.start();
  held = new Promise((resolve) => {
    finish = resolve;
  });
  await pollsIn(250);
  wake();
  expect(await pollsIn(5000)).toBe(0);
  finish();
  expect(await pollsIn(15)).toBe(1);
});

test("only checks lost channels while the worker is full", async () => {
  [isFull, isChanged] = [true, true];
  loop.start();
  await pollsIn(1000);
  expect([enforced, restored]).toEqual([0, 4]);
});

test("after stop() does not poll or listen, and cannot be started again", async () => {
  loop.start();
  await pollsIn(250);
  await loop.stop();
  wake();
  loop.start();
  expect(await pollsIn(5000)).toBe(0);
  expect(ended).toBe(1);
});

describe("a paused poller", () => {
  const timers = () => vi.getTimerCount();

  test("has no timer and no listener until it is started again", async () => {
    loop.start();
    await pollsIn(250);
    const former = wake;
    await loop.pause();
    expect([timers(), ended]).toEqual([0, 1]);
    former();
    expect([await pollsIn(5000), timers()]).toEqual([0, 0]);
    loop.start();
    expect(await pollsIn(1120)).toBe(4);
    wake();
    expect(await pollsIn(15)).toBe(1);
  });

  test("waits for the poll in flight, and starts no other", async () => {
    let finish = () => {};
    loop.start();
    held = new Promise((resolve) => {
      finish = resolve;
    });
    await pollsIn(250);
    let isPaused = false;
    const pausing = loop.pause().then(() => {
      isPaused = true;
    });
    wake();
    await pollsIn(1000);
    expect(isPaused).toBe(false);
    finish();
    await pausing;
    expect([await pollsIn(5000), timers()]).toEqual([0, 0]);
  });

  test("continues if it was started while pause() waited", async () => {
    loop.start();
    await pollsIn(100);
    const pausing = loop.pause();
    loop.start();
    await pausing;
    expect(await pollsIn(1000)).toBe(4);
  });

  test("cannot be started again after stop()", async () => {
    loop.start();
    const pausing = loop.pause();
    await loop.stop();
    await pausing;
    loop.start();
    expect([await pollsIn(1000), timers()]).toEqual([0, 0]);
  });
});
