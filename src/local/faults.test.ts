import { describe, expect, test, vi } from "vitest";
import { eventOf } from "../../test/local/events.ts";
import { ConfigurationError } from "../errors.ts";
import { delayed, FaultSwitches, type Faults } from "./faults.ts";

const MESSAGE = eventOf("message");
const UNHARMED = { delayMs: 0, isDropped: false, isDoubled: false, isJoined: false };

function switched(faults: Faults): FaultSwitches {
  const switches = new FaultSwitches();
  switches.set(faults);
  return switches;
}

/** Returns the faults for a number of consecutive messages. */
function fates(faults: Faults, count = 200) {
  const switches = switched(faults);
  return Array.from({ length: count }, () => switches.fateOf(MESSAGE));
}

describe("fault switches", () => {
  test("apply no fault before they are set or with empty settings", () => {
    expect(new FaultSwitches().fateOf(MESSAGE)).toEqual(UNHARMED);
    expect(switched({}).fateOf(MESSAGE)).toEqual(UNHARMED);
    expect(switched({ seed: 7, drop: 0, duplicate: 0, delayMs: 0, reorderMs: 0 }).fateOf(MESSAGE)).toEqual(
      UNHARMED,
    );
  });

  test("affect all messages with a share of 1, and none with a share of 0", () => {
    expect(
      fates({ drop: 1, duplicate: 0 }).every(({ isDropped, isDoubled }) => isDropped && !isDoubled),
    ).toBe(true);
    expect(
      fates({ drop: 0, duplicate: 1 }).every(({ isDropped, isDoubled }) => !isDropped && isDoubled),
    ).toBe(true);
  });

  test("affect about the configured share of messages, independently for each fault", () => {
    const cast = fates({ drop: 0.25, duplicate: 0.25, seed: 1 }, 4000);
    const share = (is: (plan: (typeof cast)[number]) => boolean) => cast.filter(is).length / cast.length;
    expect(share(({ isDropped }) => isDropped)).toBeCloseTo(0.25, 1);
    expect(share(({ isDoubled }) => isDoubled)).toBeCloseTo(0.25, 1);
    expect(share(({ isDropped, isDoubled }) => isDropped && isDoubled)).toBeCloseTo(0.0625, 1);
  });

  test("are the same with the same seed, and different with another seed", () => {
    const faults = { drop: 0.5, duplicate: 0.5, reorderMs: 100 };
    const first = fates({ ...faults, seed: 7 });
    expect(fates({ ...faults, seed: 7 })).toEqual(first);
    expect(fates({ ...faults, seed: 8 })).not.toEqual(first);
  });

  test("restart from their seed when they are set again", () => {
    const faults = { reorderMs: 100, seed: 7 };
    const switches = switched(faults);
    const first = [switches.fateOf(MESSAGE), switches.fateOf(MESSAGE)];
    switches.set(faults);
    expect([switches.fateOf(MESSAGE), switches.fateOf(MESSAGE)]).toEqual(first);
  });

  test("continue the random numbers of their seed when single faults are changed", () => {
    const faults = { reorderMs: 100, seed: 7 };
    const whole = fates(faults, 4);
    const switches = switched(faults);
    const first = [switches.fateOf(MESSAGE), switches.fateOf(MESSAGE)];
    switches.change({ delayMs: 0 });
    expect([...first, switches.fateOf(MESSAGE), switches.fateOf(MESSAGE)]).toEqual(whole);
    expect(switches.current).toEqual({ ...faults, delayMs: 0 });
  });

  test("call a function for each event", () => {
    const shouldDrop = vi.fn(() => true);
    const delay = vi.fn(() => 30);
    expect(switched({ drop: shouldDrop, delayMs: delay }).fateOf(MESSAGE)).toEqual({
      ...UNHARMED,
      isDropped: true,
      delayMs: 30,
    });
    const event = { kind: "message", routeKey: "$default", connectionId: MESSAGE.connection.id };
    expect(shouldDrop).toHaveBeenCalledWith(event);
    expect(delay).toHaveBeenCalledWith(event);
  });

  test("delay messages by delayMs plus a random part of reorderMs", () => {
    const late = fates({ delayMs: 1000, reorderMs: 100, seed: 7 }).map(({ delayMs }) => delayMs);
    for (const ms of late) {
      expect(ms).toBeGreaterThanOrEqual(1000);
      expect(ms).toBeLessThan(1100);
    }
    expect(new Set(late).size).toBeGreaterThan(100);
  });

  test("reorder only messages, not $connect and $disconnect", () => {
    const switches = switched({ delayMs: 5, reorderMs: 100, seed: 7 });
    expect(switches.fateOf(eventOf("connect")).delayMs).toBe(5);
    expect(switches.fateOf(eventOf("disconnect")).delayMs).toBe(5);
  });

  test("can join headers without any other fault", () => {
    expect(switched({ joinHeaders: true }).fateOf(MESSAGE)).toEqual({ ...UNHARMED, isJoined: true });
  });

  test("select posts by a share, and answer 410 before 429", () => {
    expect(new FaultSwitches().postFaultOf("A")).toBeUndefined();
    expect(switched({ gone: 0, limitExceeded: 0 }).postFaultOf("A")).toBeUndefined();
    expect(switched({ limitExceeded: 1 }).postFaultOf("A")).toBe("limitExceeded");
    expect(switched({ gone: 1, limitExceeded: 1 }).postFaultOf("A")).toBe("gone");
    const switches = switched({ gone: 0.25, seed: 1 });
    const gone = Array.from({ length: 4000 }, () => switches.postFaultOf("A")).filter(Boolean);
    expect(gone.length / 4000).toBeCloseTo(0.25, 1);
  });

  test("select posts by a function of the connection id", () => {
    const switches = switched({ gone: (id) => id === "A", limitExceeded: (id) => id === "B" });
    expect(["A", "B", "C"].map((id) => switches.postFaultOf(id))).toEqual([
      "gone",
      "limitExceeded",
      undefined,
    ]);
  });

  test("of posts do not affect events", () => {
    expect(switched({ gone: 1, limitExceeded: 1 }).fateOf(MESSAGE)).toEqual(UNHARMED);
  });

  test.each([
    [{ gone: 1.5 }, "gone must be a number from 0 to 1 or a function, but received 1.5."],
    [{ limitExceeded: -1 }, "limitExceeded must be a number from 0 to 1 or a function, but received -1."],
    [{ drop: -0.01 }, "drop must be a number from 0 to 1 or a function, but received -0.01."],
    [{ drop: 1.01 }, "drop must be a number from 0 to 1 or a function, but received 1.01."],
    [{ duplicate: Number.NaN }, "duplicate must be a number or a function, but received NaN."],
    [{ delayMs: -1 }, "delayMs must be a number of milliseconds from 0 to 2147483647, but received -1."],
    [
      { delayMs: 2 ** 31 },
      "delayMs must be a number of milliseconds from 0 to 2147483647, but received 2147483648.",
    ],
    [{ reorderMs: Number.NaN }, "reorderMs must be a number, but received NaN."],
  ])("reject %j", (faults, words) => {
    const switches = switched({ drop: 1 });
    expect(() => switches.set(faults)).toThrow(ConfigurationError);
    expect(() => switches.set(faults)).toThrow(words);
    expect(switches.fateOf(MESSAGE).isDropped, "what was set before").toBe(true);
  });
});

test("a delay ends immediately when it is aborted", async () => {
  const closing = new AbortController();
  const waiting = delayed(60_000, closing.signal);
  closing.abort();
  await expect(waiting).resolves.toBeUndefined();
  await expect(delayed(60_000, closing.signal)).resolves.toBeUndefined();
});
