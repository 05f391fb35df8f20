import type { IncomingMessage } from "node:http";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { bySmithy } from "../../test/aws/by-smithy.ts";
import { checkSignature, type SigningCredentials } from "./signature.ts";

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

interface CallFields {
  readonly method?: Call["method"];
  readonly path?: string;
  readonly query?: Readonly<Record<string, string | readonly string[]>>;
  /** The query string as it is sent. Default: empty. */
  readonly search?: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly at?: number;
  readonly region?: string;
  readonly key?: typeof KEY;
}

/** Returns a call that the signer of the AWS SDK signed. */
async function signed(fields: CallFields = {}): Promise<Call> {
  const { method = "POST", path = PATH, query = {}, search = "", body = "hello", contentType } = fields;
  const call = { method, host: "127.0.0.1:3001", path, query, body, contentType };
  const headers = await bySmithy(fields.region ?? "eu-west-1", fields.key ?? KEY, call, fields.at ?? NOW);
  return { method, url: path + search, headers, body };
}

/** Returns the error of the gateway for a call, or undefined if it is accepted. */
function verify(
  call: Call,
  credentials: SigningCredentials = KEY,
  data: Buffer | undefined = Buffer.from(call.body),
) {
  const { method, url, headers } = call;
  return checkSignature({ method, url, headers } as unknown as IncomingMessage, data, credentials);
}

/** Returns the call with one header changed or removed. */
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

describe("a valid signature", () => {
  test.each(["POST", "GET", "DELETE"] as const)(
    "is accepted for a %s signed by the AWS SDK",
    async (method) => {
      expect(verify(await signed({ method, body: method === "POST" ? "hello" : "" }))).toBeUndefined();
    },
  );

  test.each([
    ["=", "/dev/@connections/AAAAAAAAAAAAAAA%3D"],
    ["an encoded at sign", "/dev/%40connections/AAAAAAAAAAAAAAA%3D"],
    ["a percent sign", "/dev/@connections/%25"],
    ["letters of another alphabet", "/dev/@connections/%C3%A4"],
    ["characters that encodeURIComponent does not encode", "/dev/@connections/!'()*"],
    ["nothing", "/"],
  ])("covers the path encoded a second time: %s", async (_what, path) => {
    expect(verify(await signed({ path }))).toBeUndefined();
  });

  test.each([
    [{ b: "2", a: "1" }, "?b=2&a=1"],
    [{ a: ["2", "10", "1"] }, "?a=2&a=10&a=1"],
    [{ "a-b": "1", a: "2", "a.b": "3" }, "?a=2&a-b=1&a.b=3"],
    [{ A: "1", a: "2", B: "3" }, "?a=2&B=3&A=1"],
    [{ a: "", b: "x" }, "?b=x&a"],
    [{ a: "x=y" }, "?a=x%3Dy"],
  ])("covers the query sorted by name, then by value: %j", async (query, search) => {
    expect(verify(await signed({ query, search }))).toBeUndefined();
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
  ])("covers the decoded query, in any encoding: %j as %s", async (query, search) => {
    expect(verify(await signed({ query, search }))).toBeUndefined();
  });

  test("is accepted for any region, or for the region of the gateway if it has one", async () => {
    const call = await signed({ region: "us-east-1" });
    expect(verify(call)).toBeUndefined();
    expect(verify(call, { ...KEY, region: "us-east-1" })).toBeUndefined();
  });

  test("is accepted for five minutes before and after its time", async () => {
    for (const at of [NOW - 300_000, NOW + 300_000]) expect(verify(await signed({ at }))).toBeUndefined();
  });

  test("ignores extra spaces in signed headers, and headers that are not signed", async () => {
    const call = await signed({ contentType: "text/plain; charset=utf-8" });
    const spaced = withHeader(call, "content-type", "  text/plain;   charset=utf-8 ");
    expect(verify(withHeader(spaced, "x-own", "1"))).toBeUndefined();
  });

  test("can be written without spaces after its commas", async () => {
    const call = await signed();
    const tight = (call.headers.authorization ?? "").replaceAll(", ", ",");
    expect(verify(withHeader(call, "authorization", tight))).toBeUndefined();
  });

  test("for a body that was too large to keep is verified with the hash in its header", async () => {
    const { method, url, headers } = await signed();
    const request = { method, url, headers } as unknown as IncomingMessage;
    expect(checkSignature(request, undefined, KEY)).toBeUndefined();
  });
});

describe("a signature is rejected", () => {
  test("if it is missing", async () => {
    expect(verify(withHeader(await signed(), "authorization", undefined))).toBe(
      "Missing Authentication Token",
    );
  });

  test.each([
    ["another scheme", /^AWS4-HMAC-SHA256 /, "Bearer "],
    ["another algorithm", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"],
    ["no scope", /Credential=[^,]+/, "Credential=AKIDEXAMPLE"],
    ["another suffix of its scope", "/aws4_request", "/aws5_request"],
    ["a signature that is too short", /[0-9a-f]{2}$/, ""],
    ["a signature in capital letters", /[0-9a-f]{64}$/, "A".repeat(64)],
  ])("with %s", async (_what, from, to) => {
    expect(verify(changed(await signed(), from, to))).toBe("Missing Authentication Token");
  });

  test("of another key", async () => {
    const key = { ...KEY, accessKeyId: "AKIDOTHER" };
    expect(verify(await signed({ key }))).toBe("The security token included in the request is invalid.");
  });

  test("for another service", async () => {
    expect(verify(changed(await signed(), "/execute-api/", "/apigateway/"))).toBe(
      "Credential should be scoped to correct service: 'execute-api'.",
    );
  });

  test("for another region than the gateway's", async () => {
    expect(verify(await signed(), { ...KEY, region: "us-east-1" })).toBe(
      "Credential should be scoped to a valid region, not 'eu-west-1'.",
    );
  });

  test.each([-300_001, 301_000])("made %d ms from now", async (ms) => {
    // A signature's time has no milliseconds.
    const at = Math.floor((NOW + ms) / 1000) * 1000;
    expect(verify(await signed({ at }))).toBe("Signature expired or not yet current.");
  });

  test.each([undefined, "", "20261123", "2026-11-23T23:58:00Z", "20261123T235800"])(
    "with the time %s",
    async (time) => {
      expect(verify(withHeader(await signed(), "x-amz-date", time))).toBe(
        "Signature expired or not yet current.",
      );
    },
  );

  test("with a date that differs from the date in its scope", async () => {
    const call = await signed({ at: NOW + 180_000 });
    expect(call.headers["x-amz-date"]).toBe("20261124T000100Z");
    expect(verify(call)).toBeUndefined();
    expect(verify(changed(call, "/20261124/", "/20261123/"))).toBe("Signature expired or not yet current.");
  });

  test.each(["host", "x-amz-date"])("that does not cover %s", async (name) => {
    const covered = changed(await signed(), new RegExp(`(SignedHeaders=[^,]*)${name};?`), "$1");
    const tidy = withHeader(
      covered,
      "authorization",
      (covered.headers.authorization ?? "").replace(";,", ","),
    );
    expect(verify(tidy)).toBe("'host' and 'x-amz-date' must be signed.");
  });

  test("of another secret", async () => {
    expect(verify(await signed({ key: { ...KEY, secretAccessKey: "another" } }))).toBe(MISMATCH);
  });

  test.each<[string, Partial<Call>]>([
    ["method", { method: "DELETE" }],
    ["path", { url: PATH.replace("L0SM", "L0SN") }],
    ["query", { url: `${PATH}?a=1` }],
    ["body", { body: "hellO" }],
  ])("for another %s", async (_what, other) => {
    expect(verify({ ...(await signed()), ...other })).toBe(MISMATCH);
  });

  test("for a path with a different encoding", async () => {
    const call = await signed();
    expect(verify({ ...call, url: PATH.replace("%3D", "=") })).toBe(MISMATCH);
    expect(verify({ ...call, url: PATH.replace("@", "%40") })).toBe(MISMATCH);
  });

  test("for a header that changed after signing", async () => {
    const call = await signed({ contentType: "text/plain" });
    expect(verify(withHeader(call, "content-type", "text/html"))).toBe(MISMATCH);
    expect(verify(withHeader(call, "host", "127.0.0.1:3002"))).toBe(MISMATCH);
  });
});
