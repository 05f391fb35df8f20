import { createLocalJWKSet, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPage } from "./pages.ts";
import { RunnablePage } from "./run-page.ts";

const ISSUER = "https://login.example.com/";

describe("bearerTokens() of docs/guides/auth-providers.md", () => {
  let page: RunnablePage;
  let key: CryptoKey;
  let authenticate: (request: Request) => Promise<unknown>;

  beforeAll(async () => {
    page = await RunnablePage.compile(readPage("docs/guides/auth-providers.md"));
    const pair = await generateKeyPair("RS256");
    key = pair.privateKey;
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: "one", alg: "RS256" };
    const { bearerTokens } = await page.import("jwks.ts");
    authenticate = bearerTokens({
      keys: createLocalJWKSet({ keys: [jwk] }),
      issuer: ISSUER,
      audience: "chat",
    });
  });
  afterAll(() => page?.remove());

  const request = (token: string, scheme = "Bearer") =>
    new Request("https://www.example.com/api/ws-token", { headers: { authorization: `${scheme} ${token}` } });

  function signed(claims: object, { audience = "chat", issuer = ISSUER, expires = "5m", by = key } = {}) {
    return new SignJWT({ ...claims })
      .setProtectedHeader({ alg: "RS256", kid: "one" })
      .setSubject("user-7")
      .setIssuer(issuer)
      .setAudience(audience)
      .setExpirationTime(expires)
      .sign(by);
  }

  test("returns the user and the session of a valid token", async () => {
    expect(await authenticate(request(await signed({ sid: "s1" })))).toEqual({
      userId: "user-7",
      sessionId: "s1",
    });
  });

  test("returns null for each other token", async () => {
    const { privateKey: otherKey } = await generateKeyPair("RS256");
    const valid = await signed({ sid: "s1" });
    const tokens = [
      await signed({ sid: "s1" }, { audience: "shop" }),
      await signed({ sid: "s1" }, { issuer: "https://evil.example.com/" }),
      await signed({ sid: "s1" }, { expires: "-1m" }),
      await signed({ sid: "s1" }, { by: otherKey }),
      await signed({}),
      await signed({ sid: 7 }),
      new UnsecuredJWT({ sid: "s1" }).setSubject("user-7").setIssuer(ISSUER).setAudience("chat").encode(),
      `${valid.slice(0, -4)}AAAA`,
      "",
      "x".repeat(100_000),
    ];
    for (const token of tokens) expect(await authenticate(request(token))).toBe(null);
    expect(await authenticate(request(valid, "Basic"))).toBe(null);
    expect(await authenticate(new Request("https://www.example.com/api/ws-token"))).toBe(null);
  });
});
