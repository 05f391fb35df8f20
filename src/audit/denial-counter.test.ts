import { beforeEach, describe, expect, test } from "vitest";
import type { Decision } from "./decision.ts";
import { newReference } from "./decision.ts";
import { DenialCounter, storedReference } from "./denial-counter.ts";

const NOW = 1_700_000_000_000;
let counter: DenialCounter;
beforeEach(() => {
  counter = new DenialCounter();
});

function denial(fields: Partial<Decision>): Decision {
  return {
    ...{ event: "connect", path: "/ws/chat/connect", view: "/ws/chat", reference: newReference(), at: NOW },
    ...{ verdict: "denied", status: 403, reason: "permission", message: "denied", missing: [], steps: [] },
    ...{ tookMs: 1, repeats: 0 },
    ...fields,
  };
}

const count = (times: number, fields: Partial<Decision>) =>
  Array.from({ length: times }, () => counter.count(denial(fields)));
const stored = (counted: readonly { isStored: boolean }[]) =>
  counted.filter(({ isStored }) => isStored).length;

describe("denials of one user for one reason", () => {
  test("are stored 60 times per minute, and only counted afterwards", () => {
    const counted = count(75, { userId: "ann" });
    expect(stored(counted)).toBe(60);
    const last = counted[59]?.reference;
    expect(new Set(counted.slice(60).map(({ reference }) => reference))).toEqual(new Set([`${last}+`]));
    expect(storedReference(`${last}+`)).toEqual({ stored: last, isCounted: true });
    expect(counter.add(NOW)).toMatchObject([{ storedAs: last, repeats: 15, decision: { userId: "ann" } }]);
    expect(counter.add(NOW)).toEqual([]);
  });

  test("are stored again when a minute has passed, and the counts of the minute before are kept", () => {
    count(61, { userId: "ann" });
    const [again] = count(1, { userId: "ann", at: NOW + 60_000 });
    expect(again?.isStored).toBe(true);
    expect(counter.add(NOW + 60_000)).toMatchObject([{ repeats: 1 }]);
  });

  test("are stored again when the clock was set back by an hour", () => {
    count(61, { userId: "ann" });
    const earlier = NOW - 3_600_000;
    expect(stored(count(1, { userId: "ann", at: earlier }))).toBe(1);
    expect(counter.add(earlier)).toMatchObject([{ repeats: 1 }]);
    expect(stored(count(75, { userId: "ann", at: earlier }))).toBe(59);
  });

  test.each([{ userId: "bob" }, { reason: "limit" as const }, { event: "delivery" as const }])(
    "are counted separately from those with %o",
    (other) => {
      count(75, { userId: "ann" });
      expect(stored(count(1, { userId: "ann", ...other }))).toBe(1);
    },
  );

  test("are stored once per minute for deliveries", () => {
    expect(stored(count(10, { userId: "ann", event: "delivery" }))).toBe(1);
  });

  test("are stored 60 times again in the next minute", () => {
    count(60, { userId: "ann" });
    expect(stored(count(75, { userId: "ann", at: NOW + 60_000 }))).toBe(60);
    expect(stored(count(1, { userId: "ann", at: NOW + 119_999 }))).toBe(0);
    expect(counter.add(NOW + 119_999)).toMatchObject([{ repeats: 16 }]);
  });

  test("share one limit over all views", () => {
    const views = ["/a", "/b", "/c"].flatMap((view) => count(30, { userId: "ann", view }));
    expect(stored(views)).toBe(60);
  });
});

describe("denials without a user", () => {
  test("from one address do not use the limit or the reference of another address", () => {
    const [first] = count(80, { sourceIp: "203.0.113.66" });
    const [other] = count(1, { sourceIp: "198.51.100.7" });
    expect(other?.isStored).toBe(true);
    expect(other?.reference).not.toBe(first?.reference);
  });

  test("from one IPv6 network share one limit", () => {
    const counted = Array.from({ length: 80 }, (_, n) =>
      counter.count(denial({ sourceIp: `2001:db8::${n}` })),
    );
    expect(stored(counted)).toBe(60);
  });

  test("from one address have a separate limit for each view", () => {
    count(75, { sourceIp: "203.0.113.66", view: "/a" });
    expect(stored(count(75, { sourceIp: "203.0.113.66", view: "/b" }))).toBe(60);
  });

  test("do not share a limit with a user who is named like their address", () => {
    count(75, { sourceIp: "203.0.113.66" });
    expect(stored(count(75, { userId: "203.0.113.66" }))).toBe(60);
  });

  test("of two anonymous connections have separate limits", () => {
    count(80, { connectionKey: "one" });
    expect(stored(count(1, { connectionKey: "two" }))).toBe(1);
  });

  test("of two connections that sent malformed messages have separate limits", () => {
    const message = { event: "message" as const, reason: "malformed" as const, gateway: "main" };
    count(80, { ...message, connectionId: "one" });
    expect(stored(count(60, { ...message, connectionId: "two" }))).toBe(60);
  });

  test("from an unknown gateway share one limit, whatever connection id the caller sends", () => {
    const ids = Array.from({ length: 30 }, (_, n) => count(1, { reason: "caller", connectionId: `${n}` }));
    expect(stored(ids.flat())).toBe(10);
  });

  test("from an unknown source each receive their own reference when they are only counted", () => {
    expect(stored(count(10, { reason: "caller" }))).toBe(10);
    const counted = count(20, { reason: "caller" });
    expect(stored(counted)).toBe(0);
    expect(new Set(counted.map(({ reference }) => reference)).size).toBe(20);
    for (const { reference } of counted) expect(reference).toMatch(/^[0-9a-f]{12}\+$/);
  });

  test("are stored at most 600 times per minute in total, over all addresses", () => {
    const counted = Array.from({ length: 5000 }, (_, n) =>
      counter.count(denial({ sourceIp: `10.0.${n >> 8}.${n & 255}` })),
    );
    expect(stored(counted)).toBe(600);
    expect(counter.add(NOW)).toMatchObject([{ storedAs: undefined, repeats: 4400 }]);
    expect(stored(count(1, { userId: "ann" }))).toBe(1);
    expect(stored(count(1, { sourceIp: "10.9.9.9", at: NOW + 60_000 }))).toBe(1);
  });
});

test("counts denials by reason when it holds the largest number of kinds", () => {
  for (let n = 0; n < 10_000; n++) counter.count(denial({ userId: `user-${n}` }));
  const [counted] = count(3, { userId: "one-more" });
  expect(counted?.isStored).toBe(false);
  expect(counted?.reference).toMatch(/^[0-9a-f]{12}\+$/);
  expect(counter.add(NOW)).toMatchObject([{ storedAs: undefined, repeats: 3 }]);
  expect(stored(count(1, { userId: "one-more", at: NOW + 60_000 }))).toBe(0);
  counter.add(NOW + 60_000);
  expect(stored(count(1, { userId: "one-more", at: NOW + 60_000 }))).toBe(1);
});

test("counts denials by reason and event when it holds the largest number of kinds", () => {
  const [ann] = count(1, { userId: "ann", event: "delivery" });
  for (let n = 0; n < 9999; n++) counter.count(denial({ userId: `user-${n}` }));
  count(1, { userId: "ann", event: "delivery" });
  // The window of this kind ends. Its count is kept until take(), as the other counts are.
  count(1, { userId: "ann", event: "delivery", at: NOW + 60_000 });
  count(1, { userId: "bob", event: "delivery" });
  count(2, { userId: "bob" });
  count(3, { userId: "bob", reason: "limit" });
  count(1, { userId: "eve" });
  const permission = { reason: "permission" as const };
  expect(counter.add(NOW)).toMatchObject([
    { storedAs: ann?.reference, repeats: 1, decision: { userId: "ann", event: "delivery", ...permission } },
    { storedAs: undefined, repeats: 1, decision: { userId: "bob", event: "delivery", ...permission } },
    { storedAs: undefined, repeats: 3, decision: { userId: "bob", event: "connect", reason: "limit" } },
    { storedAs: undefined, repeats: 3, decision: { userId: "eve", event: "connect", ...permission } },
  ]);
});
