import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gatewaySecret, hashSecret, isSecret } from "./gateways.ts";
import { freshSecret, planSecret } from "./secrets.ts";

const [A, B, C] = [gatewaySecret(), gatewaySecret(), gatewaySecret()] as const;
const [a, b, c] = [A, B, C].map(hashSecret) as [string, string, string];

describe("the secret of a gateway", () => {
  test("that nobody has yet is made, and accepted", () => {
    const { secret, accepted } = planSecret([], []);
    expect(isSecret(secret)).toBe(true);
    expect(accepted).toEqual([hashSecret(secret)]);
  });

  test("that AWS has is taken over by a database that knows none", () => {
    expect(planSecret([A], [])).toEqual({ secret: A, accepted: [a] });
    expect(planSecret([A, B], [])).toEqual({ secret: A, accepted: [a, b] });
    expect(planSecret(["weak", A], [])).toEqual({ secret: A, accepted: [a] });
  });

  test("stays what it is, during a rotation as well", () => {
    expect(planSecret([A], [a])).toEqual({ secret: A, accepted: [a] });
    expect(planSecret([B, A], [b, a])).toEqual({ secret: B, accepted: [b, a] });
  });

  test("goes back to the former one where AWS never heard of the new one, which nobody has any more", () => {
    expect(planSecret([A], [b, a])).toEqual({ secret: A, accepted: [a, b] });
  });

  test("that AWS sends and nobody here knows is replaced, beside the one that was accepted", () => {
    const { secret, accepted } = planSecret([C], [a]);
    expect([A, C]).not.toContain(secret);
    expect(accepted).toEqual([hashSecret(secret), a]);
  });

  test("that is another each time, is new each time", () => {
    expect(freshSecret([a]).secret).not.toBe(freshSecret([a]).secret);
  });

  test("is accepted whatever AWS and the database have, with at most one other, and one that both know is never dropped", () => {
    const sent = fc.uniqueArray(fc.constantFrom(A, B, C, "weak", "", "a,b"), { maxLength: 4 });
    const recorded = fc.uniqueArray(fc.constantFrom(a, b, c), { maxLength: 2 });
    fc.assert(
      fc.property(sent, recorded, (ofAws, ofOurs) => {
        const { secret, accepted } = planSecret(ofAws, ofOurs);
        expect(isSecret(secret)).toBe(true);
        expect(accepted[0]).toBe(hashSecret(secret));
        expect(accepted.length).toBeLessThanOrEqual(2);
        for (const hash of ofAws.filter(isSecret).map(hashSecret))
          if (ofOurs.includes(hash)) expect(accepted).toContain(hash);
      }),
    );
  });
});
