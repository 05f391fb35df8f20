import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fairShare } from "./decision-sweep.ts";

describe("fairShare()", () => {
  test.each([
    [[70, 70, 70, 70, 70, 70], 120, 50],
    [[400, 5, 5, 1], 111, 289],
    [[10, 10], 1, 9],
    [[100, 90, 1], 50, 70],
    [[3], 3, 0],
  ])("of %j with a surplus of %i is %i", (counts, surplus, share) => {
    expect(fairShare(counts, surplus)).toBe(share);
  });

  test("removes at least the surplus, and fewer extra entries than there are users", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1 }),
        fc.nat(),
        (numbers, seed) => {
          const counts = [...numbers].sort((a, b) => b - a);
          const surplus = 1 + (seed % counts.reduce((sum, count) => sum + count, 0));
          const share = fairShare(counts, surplus);
          const removed = counts.reduce((sum, count) => sum + Math.max(0, count - share), 0);
          expect(removed).toBeGreaterThanOrEqual(surplus);
          expect(removed).toBeLessThan(surplus + counts.length);
        },
      ),
    );
  });
});
