import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Permission } from "./permissions.ts";
import { ANONYMOUS, judge, type Rule } from "./rules.ts";
import { isWider } from "./widening.ts";

const NAMES = ["a.one", "a.two", "a.three", "a.four"] as Permission[];
const names = fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 4 });
const rule: fc.Arbitrary<Rule> = fc
  .record({
    anyOf: fc.array(names, { maxLength: 3 }),
    allOf: fc.oneof(fc.constant([]), names),
    signedIn: fc.boolean(),
  })
  .map(({ anyOf, allOf, signedIn }) => ({
    anyOf,
    allOf,
    signedIn: signedIn || anyOf.length + allOf.length > 0,
  }));

/** Everybody that there can be: nobody, and a user with each set of permissions. */
const everybody = [
  ANONYMOUS,
  ...Array.from({ length: 2 ** NAMES.length }, (_, bits) => ({
    userId: "u",
    isActive: true,
    isSuperuser: false,
    permissions: NAMES.filter((_name, index) => bits & (1 << index)),
  })),
];

describe("isWider", () => {
  test("is true exactly when somebody who was kept out is let in", () => {
    fc.assert(
      fc.property(rule, rule, (later, earlier) => {
        const somebody = everybody.some((who) => judge(later, who).allowed && !judge(earlier, who).allowed);
        expect(isWider(later, earlier)).toBe(somebody);
      }),
      { numRuns: 2000 },
    );
  });

  test("is false of a rule and itself, however it is written", () => {
    const [one, two] = NAMES as [Permission, Permission];
    const written: Rule = { signedIn: true, anyOf: [[one], [two]], allOf: [] };
    const otherwise: Rule = { signedIn: true, anyOf: [], allOf: [two, one, one] };
    expect([isWider(written, otherwise), isWider(otherwise, written)]).toEqual([false, false]);
  });
});
