import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FairQueue, NORMAL_PER_SET_ASIDE, RequestQueue, SET_ASIDE_CALLS, URGENT_RESERVE } from "./queue.ts";
import { Rate } from "./rate-limiter.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const unbounded = () => new Rate(Number.POSITIVE_INFINITY);

/** Queues calls and records the order in which they are admitted. */
function recordAdmissions(queue: RequestQueue) {
  const entered: string[] = [];
  const enter = (name: string, isUrgent = false) => {
    const turn = queue.enter(isUrgent);
    if (turn) turn.then(() => entered.push(name));
    else entered.push(name);
  };
  return { entered, enter };
}

describe("a request queue", () => {
  test("admits the allowed number of calls, and the others in order as calls leave", async () => {
    const queue = new RequestQueue(unbounded(), 2);
    const { entered, enter } = recordAdmissions(queue);
    for (const name of ["a", "b", "c", "d"]) enter(name);
    expect(entered).toEqual(["a", "b"]);
    queue.leave(false);
    await Promise.resolve();
    expect(entered).toEqual(["a", "b", "c"]);
    enter("e");
    queue.leave();
    queue.leave(false);
    await Promise.resolve();
    expect(entered).toEqual(["a", "b", "c", "d", "e"]);
  });

  test("has a reserve for urgent calls, and admits them before waiting calls", async () => {
    const queue = new RequestQueue(unbounded(), 1);
    const { entered, enter } = recordAdmissions(queue);
    enter("a");
    enter("b");
    const urgent = Array.from({ length: URGENT_RESERVE + 1 }, (_, n) => `u${n}`);
    for (const name of urgent) enter(name, true);
    expect(entered).toEqual(["a", ...urgent.slice(0, -1)]);
    queue.leave(false);
    await Promise.resolve();
    expect(entered).toEqual(["a", ...urgent]);
    expect(entered).not.toContain("b");
    for (let call = 0; call < urgent.length; call++) queue.leave(false);
    await Promise.resolve();
    expect(entered.at(-1)).toBe("b");
  });

  test("admits calls at its rate although no call leaves", async () => {
    const queue = new RequestQueue(new Rate(60), 1000);
    const { entered, enter } = recordAdmissions(queue);
    for (let call = 0; call < 120; call++) enter(`${call}`);
    expect(entered).toHaveLength(3);
    await vi.advanceTimersByTimeAsync(1000);
    expect(entered.length).toBeGreaterThan(54);
    expect(entered.length).toBeLessThanOrEqual(63);
    await vi.advanceTimersByTimeAsync(1000);
    expect(entered.length).toBeGreaterThan(114);
  });

  test("admits urgent calls up to one second in advance, and delays normal calls for it", async () => {
    const queue = new RequestQueue(new Rate(100), 1000);
    const { entered, enter } = recordAdmissions(queue);
    for (let call = 0; call < 150; call++) enter("urgent", true);
    expect(entered).toHaveLength(105);
    enter("ordinary");
    await vi.advanceTimersByTimeAsync(500);
    expect(entered.length).toBeGreaterThan(145);
    for (let call = 0; call < 100; call++) queue.leave();
    expect(entered).not.toContain("ordinary");
    await vi.advanceTimersByTimeAsync(900);
    expect(entered).not.toContain("ordinary");
    await vi.advanceTimersByTimeAsync(100);
    expect(entered.at(-1)).toBe("ordinary");
  });
});

test("an urgent call does not wait for a normal one, and slowing down lengthens no debt", async () => {
  const rate = new Rate(100);
  const queue = new RequestQueue(rate, 1000);
  const { entered, enter } = recordAdmissions(queue);
  for (let call = 0; call < 105; call++) enter("early", true);
  enter("ordinary");
  enter("urgent", true);
  await vi.advanceTimersByTimeAsync(20);
  expect(entered.at(-1)).toBe("urgent");
  for (let window = 0; window < 10; window++) {
    for (let call = 0; call < 50; call++) rate.answered(true);
    await vi.advanceTimersByTimeAsync(100);
    rate.answered(false);
  }
  expect(rate.take(true)).toBeLessThan(1500);
});

test("a request queue that releases normal calls makes no normal call wait", async () => {
  const queue = new RequestQueue(new Rate(1), 1);
  const { entered, enter } = recordAdmissions(queue);
  for (const name of ["a", "b", "c"]) enter(name);
  const outside = queue.waitForCapacity();
  queue.releaseNormal();
  await outside;
  await Promise.resolve();
  expect(entered).toEqual(["a", "b", "c"]);
  enter("d");
  expect(entered).toContain("d");
  expect(queue.waitForCapacity()).toBeUndefined();
});

test("calls to connections that are set aside use separate slots, after all other calls", async () => {
  const queue = new RequestQueue(unbounded(), 1);
  const { entered, enter } = recordAdmissions(queue);
  enter("a");
  let aside = 0;
  for (let call = 0; call < SET_ASIDE_CALLS + 2; call++) void queue.enterAside(60_000)?.then(() => aside++);
  await Promise.resolve();
  expect(aside).toBe(SET_ASIDE_CALLS);
  // Those calls use no slot of the other calls.
  queue.leave(false);
  enter("b");
  expect(entered).toEqual(["a", "b"]);
  enter("c");
  queue.leaveAside();
  await Promise.resolve();
  expect(aside).toBe(SET_ASIDE_CALLS);
  queue.leave(false);
  await Promise.resolve();
  expect(entered).toEqual(["a", "b", "c"]);
  await Promise.resolve();
  expect(aside).toBe(SET_ASIDE_CALLS + 1);
  queue.releaseNormal();
  await Promise.resolve();
  expect(aside).toBe(SET_ASIDE_CALLS + 2);
  expect(queue.enterAside(60_000)).toBeUndefined();
});

test("a call to a connection that is set aside gets a turn between normal calls", async () => {
  const queue = new RequestQueue(new Rate(100), 1000);
  const { entered, enter } = recordAdmissions(queue);
  for (let call = 0; call < 200; call++) enter("ordinary");
  const burst = entered.length;
  for (let call = 0; call < 2; call++) void queue.enterAside(60_000)?.then(() => entered.push("aside"));
  await vi.advanceTimersByTimeAsync(1000);
  const [first, second] = [entered.indexOf("aside"), entered.lastIndexOf("aside")];
  expect(first).toBeGreaterThanOrEqual(burst);
  expect(second - first).toBe(NORMAL_PER_SET_ASIDE + 1);
});

test("a call to a connection that is set aside waits at most as long as allowed", async () => {
  const queue = new RequestQueue(new Rate(1), 1);
  const { enter } = recordAdmissions(queue);
  for (let call = 0; call < 20; call++) enter("ordinary");
  let isInTime: boolean | undefined;
  void queue.enterAside(500)?.then((answer) => {
    isInTime = answer;
  });
  await vi.advanceTimersByTimeAsync(499);
  expect(isInTime).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1);
  expect(isInTime).toBe(false);
});

describe("a rate", () => {
  test("of one endpoint slows down while it throttles, without effect on other endpoints", () => {
    const all = new Rate(1000);
    const [one, other] = [new Rate(1000, { within: all }), new Rate(1000, { within: all })];
    for (let window = 0; window < 5; window++) answers(one, 50, 0);
    vi.advanceTimersByTime(10_000);
    const taken = (rate: Rate) => {
      let count = 0;
      while (rate.take(false) === 0) count++;
      return count;
    };
    expect([one.share < 0.2, other.share, all.share]).toEqual([true, 1, 1]);
    // The burst has the full rate. After it, one endpoint gets its share and the other one the rest.
    taken(one);
    vi.advanceTimersByTime(40);
    expect(taken(one)).toBeLessThan(10);
    expect(taken(other)).toBeGreaterThan(30);
    expect(taken(one)).toBe(0);
  });

  const answers = (rate: Rate, throttled: number, others: number) => {
    for (let call = 0; call < throttled; call++) rate.answered(true);
    for (let call = 0; call < others; call++) rate.answered(false);
    vi.advanceTimersByTime(100);
    rate.answered(false);
  };

  test("slows down to at least 2% while many calls are throttled, and recovers", () => {
    const rate = new Rate(1000);
    answers(rate, 10, 89);
    expect(rate.share).toBeCloseTo(0.7);
    answers(rate, 50, 0);
    expect(rate.share).toBeCloseTo(0.49);
    for (let window = 0; window < 30; window++) answers(rate, 50, 0);
    expect(rate.share).toBe(0.02);
    for (let window = 0; window < 20; window++) answers(rate, 0, 100);
    expect(rate.share).toBe(1);
  });

  test("does not slow down for a small number or share of throttled calls", () => {
    const rate = new Rate(1000);
    answers(rate, 4, 0);
    answers(rate, 10, 1000);
    expect(rate.share).toBe(1);
  });

  test("is at its full value again after a pause", () => {
    const rate = new Rate(1000);
    for (let window = 0; window < 5; window++) answers(rate, 50, 0);
    expect(rate.share).toBeLessThan(0.2);
    vi.advanceTimersByTime(10_000);
    rate.answered(false);
    expect(rate.share).toBe(1);
  });

  test("without a limit reduces the calls in flight of its request queue", async () => {
    const rate = unbounded();
    const queue = new RequestQueue(rate, 100);
    for (let window = 0; window < 5; window++) answers(rate, 50, 0);
    const { entered, enter } = recordAdmissions(queue);
    for (let call = 0; call < 100; call++) enter(`${call}`);
    await vi.advanceTimersByTimeAsync(100);
    expect(entered.length).toBe(16);
  });
});

describe("a sender of many messages", () => {
  /** Waits for capacity and sends one message each time, up to `most` messages. */
  function sender(queue: RequestQueue, most = Number.POSITIVE_INFINITY) {
    const state = { sent: 0, isOver: false };
    const run = async () => {
      while (!state.isOver && state.sent < most) {
        const room = queue.waitForCapacity();
        if (room) {
          await room;
          continue;
        }
        state.sent++;
        const turn = queue.enter(false);
        if (turn) await turn;
      }
    };
    void run();
    return state;
  }

  test("sends while a further call can be in flight, and is woken when a call leaves", async () => {
    const queue = new RequestQueue(unbounded(), 3);
    const state = sender(queue);
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(3);
    queue.leave(false);
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(4);
    queue.leave(false);
    queue.leave(false);
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(6);
  });

  test("is woken when 1/32 of the calls have left, not for each call", async () => {
    const queue = new RequestQueue(unbounded(), 96);
    for (let call = 0; call < 96; call++) queue.enter(false);
    let isWoken = false;
    queue.waitForCapacity()?.then(() => {
      isWoken = true;
    });
    for (const left of [1, 2, 3]) {
      queue.leave(false);
      await Promise.resolve();
      expect(isWoken).toBe(left === 3);
    }
  });

  test("waits behind an earlier sender that was not woken yet", async () => {
    const queue = new RequestQueue(unbounded(), 96);
    for (let call = 0; call < 96; call++) queue.enter(false);
    const first = queue.waitForCapacity();
    queue.leave(false);
    const newcomer = queue.waitForCapacity();
    expect([first, newcomer]).toEqual([expect.any(Promise), expect.any(Promise)]);
    queue.leave(false);
    queue.leave(false);
    await first;
    expect(queue.waitForCapacity()).toBeUndefined();
  });

  test("waits behind calls that already wait for their turn", async () => {
    const queue = new RequestQueue(unbounded(), 1);
    const { entered, enter } = recordAdmissions(queue);
    enter("a");
    enter("b");
    const state = sender(queue);
    await vi.advanceTimersByTimeAsync(0);
    queue.leave(false);
    await vi.advanceTimersByTimeAsync(0);
    expect([entered, state.sent]).toEqual([["a", "b"], 0]);
    queue.leave(false);
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(1);
  });

  test("is woken although an earlier sender does not use its turn", async () => {
    const queue = new RequestQueue(unbounded(), 1);
    queue.enter(false);
    let woken = 0;
    const idle = queue.waitForCapacity()?.then(() => woken++);
    const state = sender(queue, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect([woken, state.sent]).toEqual([0, 0]);
    queue.leave(false);
    await vi.advanceTimersByTimeAsync(0);
    await idle;
    expect([woken, state.sent]).toEqual([1, 1]);
  });

  test("alternates with other flows, although one flow has many senders", async () => {
    const queue = new RequestQueue(unbounded(), 1);
    queue.enter(false);
    const served: string[] = [];
    for (const flow of ["large", "large", "large", "small"])
      queue.waitForCapacity(flow)?.then(() => served.push(flow));
    for (let turn = 0; turn < 4; turn++) {
      queue.leave(false);
      await vi.advanceTimersByTimeAsync(0);
      queue.enter(false);
    }
    expect(served.slice(0, 2)).toEqual(["large", "small"]);
  });

  test("waits while 1024 calls are to be retried, and continues when fewer are", async () => {
    const queue = new RequestQueue(unbounded(), 10);
    const back = Array.from({ length: 1024 }, () => queue.trackRetry());
    const state = sender(queue, 5);
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(0);
    back.pop()?.();
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(5);
    expect(queue.waitForCapacity()).toBeUndefined();
    const again = queue.trackRetry();
    expect(queue.waitForCapacity()).toBeDefined();
    again();
    expect(queue.waitForCapacity()).toBeUndefined();
  });

  test("sends all messages once the request queue releases normal calls", async () => {
    const queue = new RequestQueue(unbounded(), 1);
    queue.enter(false);
    const state = sender(queue, 7);
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(0);
    queue.releaseNormal();
    await vi.advanceTimersByTimeAsync(0);
    expect(state.sent).toBe(7);
  });
});

test("a rate is slowed by throttled answers, and calls that were not made do not count", () => {
  const rate = unbounded();
  const queue = new RequestQueue(rate, 100);
  for (let call = 0; call < 30; call++) {
    queue.enter(false);
    queue.leave(undefined);
  }
  expect(rate.isSlowed).toBe(false);
  for (let call = 0; call < 30; call++) {
    queue.enter(false);
    queue.leave(true);
  }
  expect(rate.isSlowed).toBe(true);
});

function drain(queue: FairQueue<string>): string[] {
  const served: string[] = [];
  for (let item = queue.shift(); item !== undefined; item = queue.shift()) served.push(item);
  return served;
}

test("serves flows in turn, and the items of a flow in their order", () => {
  const queue = new FairQueue<string>();
  for (const item of ["a1", "a2", "a3", "b1", "c1", "c2"]) queue.push(item.charAt(0), item);
  expect(queue.length).toBe(6);
  expect(drain(queue)).toEqual(["a1", "b1", "c1", "a2", "c2", "a3"]);
  expect(queue.length).toBe(0);
});

test("a flow that is added again waits for the other flows", () => {
  const queue = new FairQueue<string>();
  queue.push("a", "a1");
  queue.push("b", "b1");
  expect(queue.shift()).toBe("a1");
  queue.push("a", "a2");
  expect(drain(queue)).toEqual(["b1", "a2"]);
});

test("skips flows that are not ready, and keeps their turn", () => {
  const queue = new FairQueue<string>();
  for (const item of ["a1", "b1", "c1"]) queue.push(item.charAt(0), item);
  expect(queue.shift((flow) => flow !== "a")).toBe("b1");
  expect(queue.shift((flow) => flow === "b")).toBeUndefined();
  expect(drain(queue)).toEqual(["a1", "c1"]);
});

test("does not serve an item that was removed", () => {
  const queue = new FairQueue<string>();
  for (const item of ["a1", "a2", "b1"]) queue.push(item.charAt(0), item);
  queue.remove("a", "a1");
  queue.remove("b", "b1");
  queue.remove("b", "b1");
  expect(queue.length).toBe(1);
  expect(drain(queue)).toEqual(["a2"]);
});
