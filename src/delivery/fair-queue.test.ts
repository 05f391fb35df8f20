import { expect, test } from "vitest";
import { FairQueue } from "./fair-queue.ts";

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
