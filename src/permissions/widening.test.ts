import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Permission } from "./define.ts";
import { ANONYMOUS, evaluateRule, type Rule } from "./rules.ts";
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

/** All possible subjects: an anonymous caller, and a user with each set of permissions. */
const allSubjects = [
  ANONYMOUS,
  ...Array.from({ length: 2 ** NAMES.length }, (_, bits) => ({
    userId: "u",
    isActive: true,
    isSuperuser: false,
    permissions: NAMES.filter((_name, index) => bits & (1 << index)),
  })),
];

describe("isWider", () => {
  test("is true exactly if a subject that was denied is allowed", () => {
    fc.assert(
      fc.property(rule, rule, (later, earlier) => {
        const isAnyAllowed = allSubjects.some(
          (subject) => evaluateRule(later, subject).allowed && !evaluateRule(earlier, subject).allowed,
        );
        expect(isWider(later, earlier)).toBe(isAnyAllowed);
      }),
      { numRuns: 2000 },
    );
  });

  test("is false for two equivalent rules", () => {
    const [one, two] = NAMES as [Permission, Permission];
    const written: Rule = { signedIn: true, anyOf: [[one], [two]], allOf: [] };
    const otherwise: Rule = { signedIn: true, anyOf: [], allOf: [two, one, one] };
    expect([isWider(written, otherwise), isWider(otherwise, written)]).toEqual([false, false]);
  });
});
