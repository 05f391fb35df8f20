import fc from "fast-check";
import { expect, test } from "vitest";
import { bySmithy } from "../../test/aws/by-smithy.ts";
import { type AwsCredentials, type SignableCall, Signer } from "./sigv4.ts";

const REGIONS = ["eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1"];
const anyText = fc.string({ unit: "grapheme", minLength: 1, maxLength: 24 });
/** A request path: a stage and a connection id of any characters, encoded once. */
const path = fc
  .tuple(
    fc.constantFrom("", "/prod", "/dev-1", "/a/b", "/prod/"),
    fc.oneof(
      anyText,
      fc.constantFrom("L0SM9cOFvHcCIhw=", "%", "a%3Db", "a b", "a/b", "é=ü", "日本", "!'()*~-_.", "..", "."),
    ),
    fc.constantFrom("", "/"),
  )
  .map(([stage, id, end]) => `${stage}/@connections/${encodeURIComponent(id)}${end}`);

const call: fc.Arbitrary<SignableCall> = fc.record({
  method: fc.constantFrom("POST" as const, "DELETE" as const, "GET" as const),
  host: fc.constantFrom("abc123.execute-api.eu-west-1.amazonaws.com", "ws.example.com", "127.0.0.1:3001"),
  path,
  body: fc.oneof(fc.constant(""), fc.json(), anyText),
  contentType: fc.constantFrom(undefined, "application/json"),
});
const credentials: fc.Arbitrary<AwsCredentials> = fc.record({
  accessKeyId: fc.stringMatching(/^AKIA[A-Z0-9]{16}$/),
  secretAccessKey: fc.string({ minLength: 1, maxLength: 40 }),
  sessionToken: fc.option(fc.base64String({ minLength: 4, maxLength: 400 }), { nil: undefined }),
});
/** Times near midnight UTC, when the signing key and the date change. */
const instants = fc.array(
  fc
    .tuple(fc.integer({ min: 19_000, max: 22_000 }), fc.integer({ min: -1500, max: 1500 }))
    .map(([day, ms]) => day * 86_400_000 + ms),
  { minLength: 1, maxLength: 4 },
);

test("signs any request exactly as the signer of the AWS SDK does, also across days", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...REGIONS),
      credentials,
      fc.array(call, { minLength: 1, maxLength: 3 }),
      instants,
      async (region, by, calls, at) => {
        const signer = new Signer(region, by);
        for (const now of at) {
          for (const one of calls) {
            expect(signer.sign(one, now)).toEqual(await bySmithy(region, by, one, now));
          }
        }
      },
    ),
    { numRuns: 400 },
  );
});

test("signs each of many bodies with its own hash", () => {
  const signer = new Signer("eu-west-1", { accessKeyId: "A", secretAccessKey: "B" });
  const hashes = (round: number) =>
    Array.from({ length: 40 }, (_, n) => {
      const headers = signer.sign({ method: "POST", host: "h", path: "/", body: `${n}` }, round * 1000);
      return headers["x-amz-content-sha256"];
    });
  expect(hashes(1)).toEqual(hashes(2));
  expect(new Set(hashes(1)).size).toBe(40);
});
