import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gatewaySecret, hashSecret, isSecret } from "../../auth/gateways.ts";
import { freshSecret, planSecret } from "./secrets.ts";

const [A, B, C] = [gatewaySecret(), gatewaySecret(), gatewaySecret()] as const;
const [a, b, c] = [A, B, C].map(hashSecret) as [string, string, string];

describe("the secret of a gateway", () => {
  test("is generated and accepted if AWS and the database have none", () => {
    const { secret, accepted } = planSecret([], []);
    expect(isSecret(secret)).toBe(true);
    expect(accepted).toEqual([hashSecret(secret)]);
  });

  test("is adopted from AWS if the database has none", () => {
    expect(planSecret([A], [])).toEqual({ secret: A, accepted: [a] });
    expect(planSecret([A, B], [])).toEqual({ secret: A, accepted: [a, b] });
    expect(planSecret(["weak", A], [])).toEqual({ secret: A, accepted: [a] });
  });

  test("is kept, also during a rotation", () => {
    expect(planSecret([A], [a])).toEqual({ secret: A, accepted: [a] });
    expect(planSecret([B, A], [b, a])).toEqual({ secret: B, accepted: [b, a] });
  });

  test("returns to the former one if AWS never received the new one", () => {
    expect(planSecret([A], [b, a])).toEqual({ secret: A, accepted: [a, b] });
  });

  test("is replaced if AWS sends an unknown one, and the recorded one stays accepted", () => {
    const { secret, accepted } = planSecret([C], [a]);
    expect([A, C]).not.toContain(secret);
    expect(accepted).toEqual([hashSecret(secret), a]);
  });

  /** N is the newest recorded secret, F the former one. U and V are not recorded. M is malformed. */
  const SECRETS: Readonly<Record<string, string>> = {
    N: gatewaySecret(),
    F: gatewaySecret(),
    U: gatewaySecret(),
    V: gatewaySecret(),
    M: "hunter2",
  };
  const named = (names: string) => [...names].map((name) => SECRETS[name] ?? "");

  test.each([
    { recorded: "", sent: "", secret: "new", accepted: ["new"] },
    { recorded: "", sent: "M", secret: "new", accepted: ["new"] },
    { recorded: "", sent: "U", secret: "U", accepted: ["U"] },
    { recorded: "", sent: "UV", secret: "U", accepted: ["U", "V"] },
    { recorded: "", sent: "VU", secret: "V", accepted: ["V", "U"] },
    { recorded: "", sent: "MU", secret: "U", accepted: ["U"] },
    { recorded: "", sent: "UU", secret: "U", accepted: ["U"] },
    { recorded: "N", sent: "", secret: "new", accepted: ["new", "N"] },
    { recorded: "N", sent: "N", secret: "N", accepted: ["N"] },
    { recorded: "N", sent: "U", secret: "new", accepted: ["new", "N"] },
    { recorded: "N", sent: "M", secret: "new", accepted: ["new", "N"] },
    { recorded: "N", sent: "UN", secret: "N", accepted: ["N"] },
    { recorded: "N", sent: "MN", secret: "N", accepted: ["N"] },
    { recorded: "N", sent: "MU", secret: "new", accepted: ["new", "N"] },
    { recorded: "NF", sent: "", secret: "new", accepted: ["new", "N"] },
    { recorded: "NF", sent: "N", secret: "N", accepted: ["N", "F"] },
    { recorded: "NF", sent: "F", secret: "F", accepted: ["F", "N"] },
    { recorded: "NF", sent: "NF", secret: "N", accepted: ["N", "F"] },
    { recorded: "NF", sent: "FN", secret: "N", accepted: ["N", "F"] },
    { recorded: "NF", sent: "U", secret: "new", accepted: ["new", "N"] },
    { recorded: "NF", sent: "M", secret: "new", accepted: ["new", "N"] },
    { recorded: "NF", sent: "UF", secret: "F", accepted: ["F", "N"] },
    { recorded: "NF", sent: "MUFN", secret: "N", accepted: ["N", "F"] },
  ])("is $secret if AWS sends “$sent” and “$recorded” is recorded", (known) => {
    const sent = named(known.sent);
    const plan = planSecret(sent, named(known.recorded).map(hashSecret));
    const isNew = known.secret === "new";
    expect(Object.values(SECRETS).includes(plan.secret)).toBe(!isNew);
    expect(isSecret(plan.secret)).toBe(true);
    const hashes = known.accepted.map((name) =>
      hashSecret(name === "new" ? plan.secret : (SECRETS[name] ?? "")),
    );
    expect(plan.accepted).toEqual(hashes);
    if (!isNew) expect(plan.secret).toBe(SECRETS[known.secret]);
  });

  test.each([
    ["too short", "x".repeat(31)],
    ["too long", "x".repeat(257)],
    ["with a comma, like two joined headers", `${"x".repeat(32)},${"x".repeat(32)}`],
    ["with a quote", `${"x".repeat(32)}'`],
    ["with a line break", `${"x".repeat(32)}\n`],
    ["of nothing", ""],
  ])("that is %s is replaced, even if it is recorded", (_, weak) => {
    expect(planSecret([weak], []).secret).not.toBe(weak);
    expect(planSecret([weak], [hashSecret(weak)]).secret).not.toBe(weak);
  });

  test("is different each time it is generated", () => {
    expect(freshSecret([a]).secret).not.toBe(freshSecret([a]).secret);
  });

  test("is accepted with at most one other, and one that both sides have is kept", () => {
    const secrets = fc.uniqueArray(fc.stringMatching(/^[A-Za-z0-9_-]{32,40}$/), {
      minLength: 5,
      maxLength: 5,
    });
    const situation = secrets.chain((pool) =>
      fc.record({
        sent: fc.array(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...pool) }, fc.string()), {
          maxLength: 6,
        }),
        recorded: fc.uniqueArray(fc.constantFrom(...pool.map(hashSecret)), { maxLength: 2 }),
      }),
    );
    fc.assert(
      fc.property(situation, ({ sent, recorded }) => {
        const { secret, accepted } = planSecret(sent, recorded);
        expect(isSecret(secret)).toBe(true);
        expect(accepted[0]).toBe(hashSecret(secret));
        expect(accepted.length).toBeLessThanOrEqual(2);
        expect(new Set(accepted).size).toBe(accepted.length);
        const both = sent.filter(isSecret).filter((each) => recorded.includes(hashSecret(each)));
        expect(accepted).toEqual(expect.arrayContaining(both.map(hashSecret)));
        if (both.length > 0) expect(both).toContain(secret);
        // The newest secret can be in flight to AWS, whatever the integrations have now.
        expect(accepted).toEqual(expect.arrayContaining(recorded.slice(0, 1)));
      }),
      { numRuns: 2000 },
    );
  });

  test("stays the same once its plan is recorded and AWS has it", () => {
    const secrets = fc.uniqueArray(fc.constantFrom(A, B, C), { maxLength: 3 });
    const hashes = fc.uniqueArray(fc.constantFrom(a, b, c), { maxLength: 2 });
    fc.assert(
      fc.property(secrets, hashes, (sent, recorded) => {
        const plan = planSecret(sent, recorded);
        expect(planSecret([plan.secret], plan.accepted)).toEqual(plan);
      }),
    );
  });

  test("is new when a rotation begins, and only the present one stays accepted with it", () => {
    const { secret, accepted } = freshSecret([b, a]);
    expect(accepted).toEqual([hashSecret(secret), b]);
    expect(freshSecret([]).accepted).toHaveLength(1);
  });
});
