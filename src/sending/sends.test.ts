import { expect, test } from "vitest";
import { SendOrder } from "./sends.ts";

test("a send reaches a recipient only after the previous send has reached it or finished", async () => {
  const order = new SendOrder();
  const [first, second] = [order.enter("a"), order.enter("a")];
  expect(first.waitFor("1")).toBeUndefined();
  const waiting = second.waitFor("1");
  expect(waiting).toBeInstanceOf(Promise);
  first.advance("1");
  await waiting;
  expect(second.waitFor("1")).toBeUndefined();
  const end = second.waitFor("2");
  first.leave();
  await end;
  expect(second.waitFor("2")).toBeUndefined();
});

test("a send does not wait for another audience, or after it stopped waiting", () => {
  const order = new SendOrder();
  order.enter("a");
  expect(order.enter("b").waitFor("1")).toBeUndefined();
  const third = order.enter("a");
  third.removeSendBefore();
  expect(third.waitFor("1")).toBeUndefined();
  third.leave();
  // A send that makes no progress delays one later send, not all of them.
  expect(order.enter("a").waitFor("1")).toBeUndefined();
});

test("a send after one that left waits for the send before that one", async () => {
  const order = new SendOrder();
  const [first, second] = [order.enter("a"), order.enter("a")];
  second.leave();
  const third = order.enter("a");
  const waiting = third.waitFor("1");
  expect(waiting).toBeInstanceOf(Promise);
  first.leave();
  await waiting;
  expect(third.waitFor("1")).toBeUndefined();

  const [one, two, three] = [order.enter("b"), order.enter("b"), order.enter("b")];
  const held = three.waitFor("1");
  two.leave();
  await held;
  expect(three.waitFor("1")).toBeInstanceOf(Promise);
  one.leave();
  expect(three.waitFor("1")).toBeUndefined();
});

test("200 000 finished sends do not delay the next one", () => {
  const order = new SendOrder();
  let last = order.enter("a");
  for (let sends = 0; sends < 200_000; sends++) {
    const next = order.enter("a");
    last.leave();
    last = next;
  }
  expect(last.waitFor("1")).toBeUndefined();
});
