import { expect, test } from "vitest";
import { Changes } from "./changes.ts";

test("tells whose rights changed since a moment, and forgets nobody when it stops counting one by one", () => {
  const changes = new Changes();
  const before = changes.now();
  changes.mark("ann");
  expect(changes.touched("ann", before)).toBe(true);
  expect(changes.touched("bob", before)).toBe(false);
  expect(changes.touched("ann", changes.now())).toBe(false);
  // Somebody who has not signed in has no rights of their own to lose, but may be shown out of a channel.
  expect(changes.touched(null, before)).toBe(false);
  changes.mark();
  expect(changes.touched("bob", before)).toBe(true);
  expect(changes.touched(null, before)).toBe(true);
  const later = changes.now();
  for (let n = 0; n < 25_000; n++) changes.mark(`user ${n}`);
  expect(changes.touched("user 0", later)).toBe(true);
  expect(changes.touched("user 24999", later)).toBe(true);
});
