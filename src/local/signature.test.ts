import type { IncomingMessage } from "node:http";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { bySmithy } from "../../test/aws/by-smithy.ts";
import { judgeSignature, type SigningCredentials } from "./signature.ts";

const KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" };
const NOW = Date.UTC(2026, 10, 23, 23, 58, 0);
const PATH = "/dev/@connections/L0SM9cOFvHcCIhw%3D";
const MISMATCH = "The request signature we calculated does not match the signature you provided.";

interface Call {
  readonly method: "POST" | "GET" | "DELETE";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

interface Told {
  readonly method?: Call["method"];
  readonly path?: string;
  readonly query?: Readonly<Record<string, string | readonly string[]>>;
  /** As it is sent. Default: `query` has none. */
  readonly search?: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly at?: number;
  readonly region?: string;
  readonly key?: typeof KEY;
}

/** A call as AWS's own signer signs it. */
async function signed(told: Told = {}): Promise<Call> {
  const { method = "POST", path = PATH, query = {}, search = "", body = "hello", contentType } = told;
  const call = { method, host: "127.0.0.1:3001", path, query, body, contentType };
  const headers = await bySmithy(told.region ?? "eu-west-1", told.key ?? KEY, call, told.at ?? NOW);
  return { method, url: path + search, headers, body };
}

/** What the gateway says of a call. */
function judge(
  call: Call,
  credentials: SigningCredentials = KEY,
  data: Buffer | undefined = Buffer.from(call.body),
) {
  const { method, url, headers } = call;
  return judgeSignature({ method, url, headers } as unknown as IncomingMessage, data, credentials);
}

/** The same call with one of its headers changed, or left out. */
function withHeader(call: Call, name: string, value: string | undefined): Call {
  const { [name]: _, ...headers } = call.headers;
  return { ...call, headers: value === undefined ? headers : { ...headers, [name]: value } };
}

function changed(call: Call, from: string | RegExp, to: string): Call {
  const before = call.headers.authorization ?? "";
  const after = before.replace(from, to);
  expect(after).not.toBe(before);
  return withHeader(call, "authorization", after);
}

beforeEach(() => void vi.useFakeTimers({ now: NOW, toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

describe("a good signature", () => {
  test.each(["POST", "GET", "DELETE"] as const)(
    "is one that AWS's own signer made for a %s",
    async (method) => {
      expect(judge(await signed({ method, body: method === "POST" ? "hello" : "" }))).toBeUndefined();
    },
  );

  test.each([
    ["=", "/dev/@connections/AAAAAAAAAAAAAAA%3D"],
    ["an at sign that is encoded", "/dev/%40connections/AAAAAAAAAAAAAAA%3D"],
    ["a percent sign", "/dev/@connections/%25"],
    ["letters of another alphabet", "/dev/@connections/%C3%A4"],
    ["what encodeURIComponent leaves alone", "/dev/@connections/!'()*"],
    ["nothing", "/"],
  ])("is of the path encoded once more: %s", async (_what, path) => {
    expect(judge(await signed({ path }))).toBeUndefined();
  });

  test.each([
    [{ b: "2", a: "1" }, "?b=2&a=1"],
    [{ a: ["2", "10", "1"] }, "?a=2&a=10&a=1"],
    [{ "a-b": "1", a: "2", "a.b": "3" }, "?a=2&a-b=1&a.b=3"],
    [{ A: "1", a: "2", B: "3" }, "?a=2&B=3&A=1"],
    [{ a: "", b: "x" }, "?b=x&a"],
    [{ a: "x=y" }, "?a=x%3Dy"],
  ])("is of the query by name, then by value: %j", async (query, search) => {
    expect(judge(await signed({ query, search }))).toBeUndefined();
  });

  test.each([
    [{ a: "a/b" }, "?a=a/b"],
    [{ a: "a:b@c" }, "?a=a:b@c"],
    [{ a: "a/b" }, "?a=a%2fb"],
    [{ a: "a=b=c" }, "?a=a=b=c"],
    [{ a: "a!b'(c)*" }, "?a=a!b'(c)*"],
    [{ a: "a b" }, "?a=a%20b"],
    [{ a: "100%" }, "?a=100%"],
    [{ ü: "ü" }, "?%c3%bc=%C3%BC"],
    [{ "b/": "1", b0: "2" }, "?b0=2&b/=1"],
  ])("is of the query however it is written: %j as %s", async (query, search) => {
    expect(judge(await signed({ query, search }))).toBeUndefined();
  });

  test("is for any region where the gateway has none, and for its own where it has one", async () => {
    const call = await signed({ region: "us-east-1" });
    expect(judge(call)).toBeUndefined();
    expect(judge(call, { ...KEY, region: "us-east-1" })).toBeUndefined();
  });

  test("holds for five minutes before and after", async () => {
    for (const at of [NOW - 300_000, NOW + 300_000]) expect(judge(await signed({ at }))).toBeUndefined();
  });

  test("does not mind spaces in a header that is signed, nor headers that are not", async () => {
    const call = await signed({ contentType: "text/plain; charset=utf-8" });
    const spaced = withHeader(call, "content-type", "  text/plain;   charset=utf-8 ");
    expect(judge(withHeader(spaced, "x-own", "1"))).toBeUndefined();
  });

  test("may be written without spaces after its commas", async () => {
    const call = await signed();
    const tight = (call.headers.authorization ?? "").replaceAll(", ", ",");
    expect(judge(withHeader(call, "authorization", tight))).toBeUndefined();
  });

  test("of a body that was too large to be kept is of the hash that it claims", async () => {
    const { method, url, headers } = await signed();
    const request = { method, url, headers } as unknown as IncomingMessage;
    expect(judgeSignature(request, undefined, KEY)).toBeUndefined();
  });
});

describe("a signature is refused", () => {
  test("where there is none", async () => {
    expect(judge(withHeader(await signed(), "authorization", undefined))).toBe(
      "Missing Authentication Token",
    );
  });

  test.each([
    ["another scheme", /^AWS4-HMAC-SHA256 /, "Bearer "],
    ["another algorithm", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"],
    ["no scope", /Credential=[^,]+/, "Credential=AKIDEXAMPLE"],
    ["another ending of its scope", "/aws4_request", "/aws5_request"],
    ["a signature that is too short", /[0-9a-f]{2}$/, ""],
    ["a signature in capitals", /[0-9a-f]{64}$/, "A".repeat(64)],
  ])("with %s", async (_what, from, to) => {
    expect(judge(changed(await signed(), from, to))).toBe("Missing Authentication Token");
  });

  test("of another key", async () => {
    const key = { ...KEY, accessKeyId: "AKIDOTHER" };
    expect(judge(await signed({ key }))).toBe("The security token included in the request is invalid.");
  });

  test("for another service", async () => {
    expect(judge(changed(await signed(), "/execute-api/", "/apigateway/"))).toBe(
      "Credential should be scoped to correct service: 'execute-api'.",
    );
  });

  test("for another region than the gateway's", async () => {
    expect(judge(await signed(), { ...KEY, region: "us-east-1" })).toBe(
      "Credential should be scoped to a valid region, not 'eu-west-1'.",
    );
  });

  test.each([-300_001, 301_000])("made %d ms from now", async (ms) => {
    // A signature's time has no milliseconds.
    const at = Math.floor((NOW + ms) / 1000) * 1000;
    expect(judge(await signed({ at }))).toBe("Signature expired or not yet current.");
  });

  test.each([undefined, "", "20261123", "2026-11-23T23:58:00Z", "20261123T235800"])(
    "with the time %s",
    async (time) => {
      expect(judge(withHeader(await signed(), "x-amz-date", time))).toBe(
        "Signature expired or not yet current.",
      );
    },
  );

  test("with the time of another day than its scope's", async () => {
    const call = await signed({ at: NOW + 180_000 });
    expect(call.headers["x-amz-date"]).toBe("20261124T000100Z");
    expect(judge(call)).toBeUndefined();
    expect(judge(changed(call, "/20261124/", "/20261123/"))).toBe("Signature expired or not yet current.");
  });

  test.each(["host", "x-amz-date"])("that does not cover %s", async (name) => {
    const covered = changed(await signed(), new RegExp(`(SignedHeaders=[^,]*)${name};?`), "$1");
    const tidy = withHeader(
      covered,
      "authorization",
      (covered.headers.authorization ?? "").replace(";,", ","),
    );
    expect(judge(tidy)).toBe("'host' and 'x-amz-date' must be signed.");
  });

  test("of another secret", async () => {
    expect(judge(await signed({ key: { ...KEY, secretAccessKey: "another" } }))).toBe(MISMATCH);
  });

  test.each<[string, Partial<Call>]>([
    ["method", { method: "DELETE" }],
    ["path", { url: PATH.replace("L0SM", "L0SN") }],
    ["query", { url: `${PATH}?a=1` }],
    ["body", { body: "hellO" }],
  ])("for another %s", async (_what, other) => {
    expect(judge({ ...(await signed()), ...other })).toBe(MISMATCH);
  });

  test("for a path that is encoded otherwise", async () => {
    const call = await signed();
    expect(judge({ ...call, url: PATH.replace("%3D", "=") })).toBe(MISMATCH);
    expect(judge({ ...call, url: PATH.replace("@", "%40") })).toBe(MISMATCH);
  });

  test("for a header that is not as it was signed", async () => {
    const call = await signed({ contentType: "text/plain" });
    expect(judge(withHeader(call, "content-type", "text/html"))).toBe(MISMATCH);
    expect(judge(withHeader(call, "host", "127.0.0.1:3002"))).toBe(MISMATCH);
  });
});
