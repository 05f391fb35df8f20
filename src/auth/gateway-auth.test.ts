import { describe, expect, test } from "vitest";
import { RequestError } from "../errors.ts";
import type { MessageCall } from "../protocol/gateway-call.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import { GatewayAuthenticator } from "./gateway-auth.ts";
import { type Gateways, hashSecret } from "./gateways.ts";

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

/** The cached list of gateways, and the list that a fresh read returns. */
const gateways = (kept: readonly Gateway[], fresh = kept) =>
  ({ list: async () => kept, refresh: async () => fresh }) as unknown as Gateways;

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
  const gatewayAuthenticator = new GatewayAuthenticator(gateways([ONE, TWO]), "secret");

  test("is authenticated as the gateway with that secret", async () => {
    expect(
      await gatewayAuthenticator.check(call({ secret: SECRETS.one, apiId: "api-1", stage: "prod" })),
    ).toBe(ONE);
    expect(await gatewayAuthenticator.check(call({ secret: SECRETS.two, apiId: "anything" }))).toBe(TWO);
  });

  test.each([
    ["no secret", {}, "it has no x-sallyport-secret header"],
    ["a secret of no gateway", { secret: "3".repeat(64) }, "is not the secret of a registered gateway"],
    [
      "a joined header",
      { secret: `${SECRETS.one},${SECRETS.two}` },
      "is not the secret of a registered gateway",
    ],
    ["a short one", { secret: "1".repeat(31) }, "is not the secret of a registered gateway"],
    ["another API's id beside it", { secret: SECRETS.one, apiId: "api-2" }, 'names API "api-2"'],
    ["another stage beside it", { secret: SECRETS.one, stage: "dev" }, 'names stage "dev"'],
    ["an API's id alone", { apiId: "api-1", stage: "prod" }, "it has no x-sallyport-secret header"],
  ])("is rejected: %s", async (_name, fields, words) => {
    const rejection = await gatewayAuthenticator.check(call(fields)).catch((error: unknown) => error);
    expect(rejection).toBeInstanceOf(RequestError);
    expect(rejection).toMatchObject({ reason: "caller", message: expect.stringContaining(words) });
  });

  test("is found synchronously while the list is fresh, and its API id and stage are checked", () => {
    const fresh = new GatewayAuthenticator({ freshList: [ONE, TWO] } as unknown as Gateways, "secret");
    expect(fresh.find(call({ secret: SECRETS.two }))).toBe(TWO);
    expect(fresh.find(call({ secret: "3".repeat(64) }))).toBeUndefined();
    expect(() => fresh.find(call({ secret: SECRETS.one, stage: "dev" }))).toThrow('names stage "dev"');
    const stale = new GatewayAuthenticator({ freshList: undefined } as unknown as Gateways, "secret");
    expect(stale.find(call({ secret: SECRETS.two }))).toBeUndefined();
  });

  test("of a gateway that is missing in the cached list is found by a fresh read", async () => {
    const late = new GatewayAuthenticator(gateways([TWO], [ONE, TWO]), "secret");
    expect(await late.check(call({ secret: SECRETS.one }))).toBe(ONE);
  });

  test("that sends an invalid connection id gets a short error with the mapping to configure", async () => {
    const long = await gatewayAuthenticator
      .check(call({ secret: SECRETS.one, connectionId: "!".repeat(5000) }))
      .catch((error: Error) => error);
    expect(long).toMatchObject({ reason: "malformed", status: 400 });
    expect((long as Error).message.length).toBeLessThan(500);
    expect((long as Error).message).toContain("context.connectionId");
  });
});

describe("a caller with gatewayAuth none", () => {
  const gatewayAuthenticator = new GatewayAuthenticator(gateways([ONE, TWO]), "none");

  test("is authenticated as the gateway with its API id and stage, without a secret", async () => {
    expect(await gatewayAuthenticator.check(call({ apiId: "api-1", stage: "prod" }))).toBe(ONE);
    expect(await gatewayAuthenticator.check(call({ apiId: "api-1" }))).toBe(ONE);
  });

  test.each([
    ["no API id, though a gateway has none either", {}],
    ["another API id", { apiId: "api-2", stage: "prod" }],
    ["another stage", { apiId: "api-1", stage: "dev" }],
    ["a secret, which proves nothing here", { secret: SECRETS.one }],
  ])("B2 is rejected: %s", async (_name, fields) => {
    await expect(gatewayAuthenticator.check(call(fields))).rejects.toThrow(
      /no gateway is registered for API/,
    );
  });
});

describe("a direct invocation of a Lambda function", () => {
  const gatewayAuthenticator = new GatewayAuthenticator(gateways([ONE, TWO]), "secret");

  test("is authenticated by its API id and stage, and needs no secret", async () => {
    const invoked = { isInvocation: true, apiId: "api-1", stage: "prod" };
    expect(await gatewayAuthenticator.check(call(invoked))).toBe(ONE);
    expect(await gatewayAuthenticator.check(call({ ...invoked, secret: SECRETS.two }))).toBe(ONE);
  });

  test.each([
    ["an API that is not registered", { apiId: "api-2", stage: "prod" }],
    ["another stage of it", { apiId: "api-1", stage: "dev" }],
    ["no API", { apiId: "", stage: "prod" }],
    ["no stage", { apiId: "api-1", stage: "" }],
    ["an API that is not registered, with a secret that is", { apiId: "api-2", secret: SECRETS.one }],
  ])("is rejected: %s", async (_name, fields) => {
    const invoked = call({ isInvocation: true, ...fields });
    await expect(gatewayAuthenticator.check(invoked)).rejects.toThrow(/no gateway is registered for API/);
  });
});
