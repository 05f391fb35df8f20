import { expect, test } from "vitest";
import type { RefusedError } from "../errors.ts";
import { MessageLimits } from "./message-limits.ts";

const ann = (id: string) => ({ id, userId: "ann" });

/** Seconds until another attempt can succeed, as the error says. */
function retryAfter(take: () => void): number | undefined {
  try {
    take();
  } catch (error) {
    return (error as RefusedError).retryAfterSeconds;
  }
  return undefined;
}

test("counts messages per connection, and starts a new window after a minute", () => {
  const limits = new MessageLimits({ messagesPerConnection: 2, messagesPerUser: false });
  limits.take(ann("a"), 0);
  limits.take(ann("a"), 10);
  expect(() => limits.take(ann("a"), 20)).toThrow(
    /^Connection a has reached messagesPerConnection, which allows 2 per minute\. The window ends in 60 s\.$/,
  );
  expect(retryAfter(() => limits.take(ann("a"), 10_500))).toBe(50);
  expect(retryAfter(() => limits.take(ann("a"), 59_999))).toBe(1);
  limits.take(ann("b"), 20);
  limits.take(ann("a"), 60_000);
});

test("counts messages per user on all connections, and none of anonymous users", () => {
  const limits = new MessageLimits({ messagesPerConnection: false, messagesPerUser: 3 });
  for (const id of ["a", "b", "c"]) limits.take(ann(id), 0);
  expect(() => limits.take(ann("d"), 1)).toThrow(/^User ann has reached messagesPerUser/);
  expect(retryAfter(() => limits.take(ann("d"), 30_000))).toBe(30);
  limits.take({ id: "e", userId: "bob" }, 1);
  for (let index = 0; index < 10; index++) limits.take({ id: "f", userId: null }, 1);
  limits.take(ann("d"), 60_000);
});

test("counts a message that one limit denies for neither", () => {
  const limits = new MessageLimits({ messagesPerConnection: 1, messagesPerUser: 3 });
  limits.take(ann("a"), 0);
  for (let index = 0; index < 5; index++) expect(() => limits.take(ann("a"), 1)).toThrow(/Connection a/);
  limits.take(ann("b"), 1);
  limits.take(ann("c"), 1);
  for (let index = 0; index < 5; index++) expect(() => limits.take(ann("d"), 2)).toThrow(/User ann/);
  limits.take(ann("d"), 60_000);
});

test("denies every message where a limit is 0", () => {
  const limits = new MessageLimits({ messagesPerConnection: false, messagesPerUser: 0 });
  expect(retryAfter(() => limits.take(ann("a"), 0))).toBe(60);
  limits.take({ id: "b", userId: null }, 0);
});
