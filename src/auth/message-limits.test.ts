import { afterEach, expect, test, vi } from "vitest";
import type { RequestError } from "../errors.ts";
import { parseOptions } from "../options.ts";
import type { ValidViewLimits } from "../views/limits.ts";
import { LimitSettings, type Limits, limitsSchema } from "./limits.ts";
import { MessageLimits } from "./message-limits.ts";

const VIEW = "/ws";
const limitsOf = (app: Partial<Limits>, views: Readonly<Record<string, ValidViewLimits>> = {}) => {
  const byPath = new Map(Object.entries(views).map(([path, limits]) => [path, { limits }]));
  return new MessageLimits(new LimitSettings(parseOptions("limits", limitsSchema, app), byPath));
};

/** A realistic time, because a window can begin at any time. */
const START = Date.UTC(2026, 0, 1);
const MINUTE_MS = 60_000;

afterEach(() => {
  vi.restoreAllMocks();
});

const ann = (id: string) => ({ id, userId: "ann" });

/** Returns the number of seconds until another attempt can succeed, from the error. */
function retryAfter(take: () => void): number | undefined {
  try {
    take();
  } catch (error) {
    return (error as RequestError).retryAfterSeconds;
  }
  return undefined;
}

test("counts messages per connection, and starts a new window after a minute", () => {
  const limits = limitsOf({ messagesPerConnection: 2, messagesPerUser: false });
  limits.take(VIEW, ann("a"), 0);
  limits.take(VIEW, ann("a"), 10);
  expect(() => limits.take(VIEW, ann("a"), 20)).toThrow(
    /^Connection a has reached messagesPerConnection, which allows 2 per minute\. Retry in 60 s, or raise the limit\.$/,
  );
  expect(retryAfter(() => limits.take(VIEW, ann("a"), 10_500))).toBe(50);
  expect(retryAfter(() => limits.take(VIEW, ann("a"), 59_999))).toBe(1);
  limits.take(VIEW, ann("b"), 20);
  limits.take(VIEW, ann("a"), 60_000);
});

test("counts messages per user over all connections, and none of anonymous users", () => {
  const limits = limitsOf({ messagesPerConnection: false, messagesPerUser: 3 });
  for (const id of ["a", "b", "c"]) limits.take(VIEW, ann(id), 0);
  expect(() => limits.take(VIEW, ann("d"), 1)).toThrow(/^User ann has reached messagesPerUser/);
  expect(retryAfter(() => limits.take(VIEW, ann("d"), 30_000))).toBe(30);
  limits.take(VIEW, { id: "e", userId: "bob" }, 1);
  for (let index = 0; index < 10; index++) limits.take(VIEW, { id: "f", userId: null }, 1);
  limits.take(VIEW, ann("d"), 60_000);
});

test("counts a message in neither limit if one limit rejects it", () => {
  const limits = limitsOf({ messagesPerConnection: 1, messagesPerUser: 3 });
  limits.take(VIEW, ann("a"), 0);
  for (let index = 0; index < 5; index++)
    expect(() => limits.take(VIEW, ann("a"), 1)).toThrow(/Connection a/);
  limits.take(VIEW, ann("b"), 1);
  limits.take(VIEW, ann("c"), 1);
  for (let index = 0; index < 5; index++) expect(() => limits.take(VIEW, ann("d"), 2)).toThrow(/User ann/);
  limits.take(VIEW, ann("d"), 60_000);
});

test("rejects every message if a limit is 0", () => {
  const limits = limitsOf({ messagesPerConnection: false, messagesPerUser: 0 });
  expect(retryAfter(() => limits.take(VIEW, ann("a"), 0))).toBe(60);
  limits.take(VIEW, { id: "b", userId: null }, 0);
});

test("uses the values of a view instead of the app's, and counts its messages separately", () => {
  const limits = limitsOf(
    { messagesPerConnection: 9, messagesPerUser: 2 },
    { "/own": { messagesPerUser: 1 } },
  );
  limits.take("/own", ann("a"), 0);
  expect(() => limits.take("/own", ann("b"), 0)).toThrow(
    /^User ann has reached messagesPerUser of view \/own,/,
  );
  limits.take("/one", ann("c"), 0);
  limits.take("/two", ann("d"), 0);
  expect(() => limits.take("/one", ann("e"), 0)).toThrow(
    /^User ann has reached messagesPerUser, which allows 2/,
  );
});

test("has no limit at a view that sets false", () => {
  const limits = limitsOf(
    { messagesPerConnection: 0, messagesPerUser: 0 },
    { "/open": { messagesPerConnection: false, messagesPerUser: false } },
  );
  for (let index = 0; index < 10; index++) limits.take("/open", ann("a"), 0);
  expect(() => limits.take("/ws", ann("a"), 0)).toThrow(/messagesPerConnection/);
});

test("counts the calls of each handler separately, and separately at each view", () => {
  const limits = limitsOf({});
  const [slow, free] = [
    { name: "slow", limits: { messagesPerConnection: 1, messagesPerUser: 2 } },
    { name: "free", limits: {} },
  ];
  limits.takeCall("/one", slow, ann("a"), 0);
  expect(() => limits.takeCall("/one", slow, ann("a"), 0)).toThrow(
    /^Connection a has reached messagesPerConnection of handler slow of view \/one, which allows 1 per minute/,
  );
  limits.takeCall("/one", slow, ann("b"), 0);
  expect(() => limits.takeCall("/one", slow, ann("c"), 0)).toThrow(
    /^User ann has reached messagesPerUser of handler/,
  );
  limits.takeCall("/two", { ...slow }, ann("a"), 0);
  for (let index = 0; index < 10; index++) limits.takeCall("/one", free, ann("a"), 0);
});

test("counts from zero in each new window", () => {
  const limits = limitsOf({ messagesPerConnection: 2, messagesPerUser: false });
  for (const startedAt of [START, START + MINUTE_MS, START + 5 * MINUTE_MS]) {
    limits.take(VIEW, ann("a"), startedAt);
    limits.take(VIEW, ann("a"), startedAt + 1);
    expect(retryAfter(() => limits.take(VIEW, ann("a"), startedAt + 2))).toBe(60);
    expect(retryAfter(() => limits.take(VIEW, ann("a"), startedAt + MINUTE_MS - 1))).toBe(1);
  }
});

test("keeps the windows that are open when it removes those that have ended", () => {
  const limits = limitsOf({ messagesPerConnection: 1, messagesPerUser: false });
  limits.take(VIEW, ann("a"), START);
  limits.take(VIEW, ann("b"), START + 30_000);
  limits.take(VIEW, ann("c"), START + MINUTE_MS + 1);
  expect(retryAfter(() => limits.take(VIEW, ann("b"), START + MINUTE_MS + 1))).toBe(30);
  limits.take(VIEW, ann("a"), START + MINUTE_MS + 1);
});

test("removes the windows of connections that send no more messages", () => {
  const limits = limitsOf({ messagesPerConnection: 5, messagesPerUser: false });
  for (let index = 0; index < 100; index++) limits.take(VIEW, ann(`${index}`), START + index);
  const set = vi.spyOn(Map.prototype, "set");
  limits.take(VIEW, ann("last"), START + 2 * MINUTE_MS);
  const windows = set.mock.contexts[set.mock.calls.findIndex(([key]) => key === "last")];
  expect([...(windows as Map<string, unknown>).keys()]).toEqual(["last"]);
});

test("measures windows with the monotonic clock, so a clock that is set back extends no window", () => {
  const limits = limitsOf({ messagesPerConnection: 1, messagesPerUser: 1 });
  const [wall, monotonic] = [vi.spyOn(Date, "now"), vi.spyOn(performance, "now")];
  wall.mockReturnValue(START);
  monotonic.mockReturnValue(1_000);
  limits.take(VIEW, ann("a"));
  wall.mockReturnValue(START - 60 * MINUTE_MS);
  monotonic.mockReturnValue(1_000 + MINUTE_MS - 1);
  expect(retryAfter(() => limits.take(VIEW, ann("a")))).toBe(1);
  monotonic.mockReturnValue(1_000 + MINUTE_MS);
  expect(retryAfter(() => limits.take(VIEW, ann("a")))).toBeUndefined();
});
