import { describe, expect, test } from "vitest";
import { RefusedError } from "../errors.ts";
import { type Gateway, type Gateways, hashSecret } from "../gateways/gateways.ts";
import type { MessageCall } from "../protocol/gateway-call.ts";
import { Callers } from "./callers.ts";

const SECRETS = { one: "1".repeat(64), two: "2".repeat(64) };
const gateway = (name: keyof typeof SECRETS, apiId: string | null): Gateway => ({
  id: name,
  name,
  apiId,
  stage: "prod",
  endpoint: "https://x.example.com/prod",
  secretHashes: [hashSecret(SECRETS[name])],
  replies: "route",
});
const ONE = gateway("one", "api-1");
const TWO = gateway("two", null);

/** The list as it is kept, and as a fresh reading gives it. */
const gateways = (kept: readonly Gateway[], fresh = kept) =>
  ({ list: async () => kept, listAnew: async () => fresh }) as unknown as Gateways;

const call = (fields: Partial<MessageCall>): MessageCall => ({
  kind: "message",
  connectionId: "AAAAAAAAAAAAAAA=",
  isInvocation: false,
  secret: undefined,
  apiId: undefined,
  stage: undefined,
  sourceIp: undefined,
  requestId: undefined,
  ...fields,
});

describe("a caller with a secret", () => {
  const callers = new Callers(gateways([ONE, TWO]), "secret");

  test("is the gateway whose secret it is", async () => {
    expect(await callers.check(call({ secret: SECRETS.one, apiId: "api-1", stage: "prod" }))).toBe(ONE);
    expect(await callers.check(call({ secret: SECRETS.two, apiId: "anything" }))).toBe(TWO);
  });

  test.each([
    ["no secret", {}, "it has no x-sallyport-secret header"],
    ["a secret of nobody's", { secret: "3".repeat(64) }, "is that of no registered gateway"],
    ["a joined header", { secret: `${SECRETS.one},${SECRETS.two}` }, "is that of no registered gateway"],
    ["a short one", { secret: "1".repeat(31) }, "is that of no registered gateway"],
    ["another API's id beside it", { secret: SECRETS.one, apiId: "api-2" }, 'names API "api-2"'],
    ["another stage beside it", { secret: SECRETS.one, stage: "dev" }, 'names stage "dev"'],
    ["an API's id alone", { apiId: "api-1", stage: "prod" }, "it has no x-sallyport-secret header"],
  ])("is refused: %s", async (_name, fields, words) => {
    const refusal = await callers.check(call(fields)).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(RefusedError);
    expect(refusal).toMatchObject({ reason: "caller", message: expect.stringContaining(words) });
  });

  test("is found without a promise while the list is fresh, and its API and stage are compared", () => {
    const fresh = new Callers({ freshList: [ONE, TWO] } as unknown as Gateways, "secret");
    expect(fresh.find(call({ secret: SECRETS.two }))).toBe(TWO);
    expect(fresh.find(call({ secret: "3".repeat(64) }))).toBeUndefined();
    expect(() => fresh.find(call({ secret: SECRETS.one, stage: "dev" }))).toThrow('names stage "dev"');
    const stale = new Callers({ freshList: undefined } as unknown as Gateways, "secret");
    expect(stale.find(call({ secret: SECRETS.two }))).toBeUndefined();
  });

  test("of a gateway registered a moment ago is found by a fresh reading", async () => {
    const late = new Callers(gateways([TWO], [ONE, TWO]), "secret");
    expect(await late.check(call({ secret: SECRETS.one }))).toBe(ONE);
  });

  test("that names no connection is told what to map, and never all of what it sent", async () => {
    const long = await callers
      .check(call({ secret: SECRETS.one, connectionId: "!".repeat(5000) }))
      .catch((error: Error) => error);
    expect(long).toMatchObject({ reason: "malformed", status: 400 });
    expect((long as Error).message.length).toBeLessThan(500);
    expect((long as Error).message).toContain("context.connectionId");
  });
});

describe("a caller with gatewayAuth none", () => {
  const callers = new Callers(gateways([ONE, TWO]), "none");

  test("counts as the gateway of the API id and stage that it names, without a secret", async () => {
    expect(await callers.check(call({ apiId: "api-1", stage: "prod" }))).toBe(ONE);
    expect(await callers.check(call({ apiId: "api-1" }))).toBe(ONE);
  });

  test.each([
    ["no API id, though a gateway has none either", {}],
    ["another API id", { apiId: "api-2", stage: "prod" }],
    ["another stage", { apiId: "api-1", stage: "dev" }],
    ["a secret, which proves nothing here", { secret: SECRETS.one }],
  ])("is refused: %s", async (_name, fields) => {
    await expect(callers.check(call(fields))).rejects.toThrow(/no gateway is registered for API/);
  });
});

describe("a caller whose way proves its API", () => {
  const callers = new Callers(gateways([ONE, TWO]), "secret");

  test("is the gateway of that API and stage, and needs no secret", async () => {
    const invoked = { isInvocation: true, apiId: "api-1", stage: "prod" };
    expect(await callers.check(call(invoked))).toBe(ONE);
    expect(await callers.check(call({ ...invoked, secret: SECRETS.two }))).toBe(ONE);
  });

  test.each([
    ["an API that is not registered", { apiId: "api-2", stage: "prod" }],
    ["another stage of it", { apiId: "api-1", stage: "dev" }],
    ["no API", { apiId: "", stage: "prod" }],
    ["no stage", { apiId: "api-1", stage: "" }],
    ["an API that is not registered, with a secret that is", { apiId: "api-2", secret: SECRETS.one }],
  ])("is refused: %s", async (_name, fields) => {
    const invoked = call({ isInvocation: true, ...fields });
    await expect(callers.check(invoked)).rejects.toThrow(/no gateway is registered for API/);
  });
});
