import { expect, test } from "vitest";
import { ConnectionQueue, MAX_QUEUED_CHARACTERS, MAX_QUEUED_MESSAGES } from "./connection-queue.ts";

function full(): ConnectionQueue<string> {
  const queue = new ConnectionQueue<string>();
  for (let post = 0; post < MAX_QUEUED_MESSAGES; post++) queue.add(`${post}`, false, 10);
  return queue;
}

test("a queue is full by the number or the size of its messages, urgent ones excluded", () => {
  expect(full().isFull).toBe(true);
  const queue = new ConnectionQueue<string>();
  queue.add("large", false, MAX_QUEUED_CHARACTERS - 1);
  for (let post = 0; post < MAX_QUEUED_MESSAGES; post++) queue.add(`${post}`, true, 1000);
  expect([queue.isFull, queue.hasUrgent]).toEqual([false, true]);
  queue.add("small", false, 1);
  expect(queue.isFull).toBe(true);
  queue.remove(false, 1);
  expect(queue.isFull).toBe(false);
});

test("a sender waits for a place in a full queue until a message is removed", async () => {
  const queue = full();
  const waiting = queue.waitForPlace();
  expect(waiting).toBeDefined();
  queue.remove(false, 10);
  await waiting?.ready;
  expect(queue.waitForPlace()).toBeUndefined();
});

test("a free place wakes every waiting sender, because the first one may no longer need it", async () => {
  const queue = full();
  let woken = 0;
  for (let sender = 0; sender < 8; sender++) void queue.waitForPlace()?.ready.then(() => woken++);
  // Only one message is removed, so no later removal wakes the other senders.
  queue.remove(false, 10);
  await Promise.resolve();
  expect(woken).toBe(8);
});

test("a sender that stopped waiting does not count", () => {
  const queue = full();
  for (let time = 0; time < 50; time++) queue.waitForPlace()?.leave();
  expect(queue.isStuck).toBe(false);
  expect(queue.waitForPlace()).toBeDefined();
});

test("no sender waits for a queue that is rejected, is too slow, or has 16 waiting senders", async () => {
  const rejected = full();
  const waiting = rejected.waitForPlace();
  for (let call = 0; call < 3; call++) rejected.rejected((rejections) => rejections.consecutiveFailures++);
  await waiting?.ready;
  expect([rejected.waitForPlace(), rejected.isStuck]).toEqual([undefined, true]);

  const slow = full();
  const left = slow.waitForPlace();
  slow.endTooSlow();
  await left?.ready;
  expect(slow.waitForPlace()).toBeUndefined();

  const popular = full();
  for (let sender = 0; sender < 16; sender++) expect(popular.waitForPlace()).toBeDefined();
  expect([popular.waitForPlace(), popular.isStuck]).toEqual([undefined, true]);
});
