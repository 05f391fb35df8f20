import { expect, test } from "vitest";
import { SendOrder } from "./send-order.ts";

test("a send reaches a recipient only after the previous send has reached it or finished", async () => {
  const order = new SendOrder();
  const [first, second] = [order.enter("a"), order.enter("a")];
  expect(first.mayPass("1")).toBeUndefined();
  const waiting = second.mayPass("1");
  expect(waiting).toBeInstanceOf(Promise);
  first.passed("1");
  await waiting;
  expect(second.mayPass("1")).toBeUndefined();
  const end = second.mayPass("2");
  first.leave();
  await end;
  expect(second.mayPass("2")).toBeUndefined();
});

test("a send does not wait for another audience, or after it stopped waiting", () => {
  const order = new SendOrder();
  order.enter("a");
  expect(order.enter("b").mayPass("1")).toBeUndefined();
  const third = order.enter("a");
  third.goAhead();
  expect(third.mayPass("1")).toBeUndefined();
  third.leave();
  // A send that makes no progress delays one later send, not all of them.
  expect(order.enter("a").mayPass("1")).toBeUndefined();
});

test("a send after one that left waits for the send before that one", async () => {
  const order = new SendOrder();
  const [first, second] = [order.enter("a"), order.enter("a")];
  second.leave();
  const third = order.enter("a");
  const waiting = third.mayPass("1");
  expect(waiting).toBeInstanceOf(Promise);
  first.leave();
  await waiting;
  expect(third.mayPass("1")).toBeUndefined();

  const [one, two, three] = [order.enter("b"), order.enter("b"), order.enter("b")];
  const held = three.mayPass("1");
  two.leave();
  await held;
  expect(three.mayPass("1")).toBeInstanceOf(Promise);
  one.leave();
  expect(three.mayPass("1")).toBeUndefined();
});

test("200 000 finished sends do not delay the next one", () => {
  const order = new SendOrder();
  let last = order.enter("a");
  for (let sends = 0; sends < 200_000; sends++) {
    const next = order.enter("a");
    last.leave();
    last = next;
  }
  expect(last.mayPass("1")).toBeUndefined();
});
