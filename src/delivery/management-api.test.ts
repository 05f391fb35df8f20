import { createHash, createHmac } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FetchClient } from "./fetch-client.ts";
import { type ClientClass, loadClient } from "./http-clients.ts";
import { HttpManagementApi, type ManagementApiOptions, type PostResult } from "./management-api.ts";
import { Signer } from "./sigv4.ts";

let server: Server;
let endpoint: string;
let answer: RequestListener;
let load: () => Promise<ClientClass>;
const opened: HttpManagementApi[] = [];

beforeEach(async () => {
  answer = (_request, response) => response.end();
  server = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dev`;
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const api of opened.splice(0)) await api.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function open(options: Partial<ManagementApiOptions> = {}): HttpManagementApi {
  const api = new HttpManagementApi(options, load);
  opened.push(api);
  return api;
}

/** Calls ready() before the call, as a delivery does. */
async function post(api: HttpManagementApi, to: string, id: string, frame: string): Promise<PostResult> {
  await api.ready(to);
  return api.post(to, id, frame);
}

async function remove(api: HttpManagementApi, to: string, id: string): Promise<PostResult> {
  await api.ready(to);
  return api.delete(to, id);
}

/** The HTTP clients for Node.js and for Bun. */
const CLIENTS: readonly [name: string, load: () => Promise<ClientClass>][] = [
  ["undici", loadClient],
  ["fetch", async () => FetchClient],
];

describe.each(CLIENTS)("a call over %s", (_client, given) => {
  beforeEach(() => {
    load = given;
  });

  test.each<[status: number, headers: Record<string, string>, result: object]>([
    [200, {}, { kind: "ok" }],
    [204, {}, { kind: "ok" }],
    [410, { "x-amzn-errortype": "GoneException" }, { kind: "gone" }],
    [
      429,
      { "x-amzn-errortype": "LimitExceededException" },
      { kind: "retry", reason: "status 429 LimitExceededException", isThrottled: true },
    ],
    [500, {}, { kind: "retry", reason: "status 500" }],
    [
      403,
      { "x-amzn-errortype": "AccessDeniedException:http://internal.amazon.com/coral/" },
      { kind: "failed", reason: "status 403 AccessDeniedException" },
    ],
    [400, { "x-amzn-errortype": "<b>no name" }, { kind: "failed", reason: "status 400" }],
    [302, { location: "http://127.0.0.1:1/" }, { kind: "failed", reason: "status 302" }],
  ])("that is answered with %d %j returns %j", async (status, headers, result) => {
    answer = (_request, response) => response.writeHead(status, headers).end('{"message":"words"}');
    expect(await post(open(), endpoint, "id=", "{}")).toEqual(result);
  });

  test.each<[status: number, result: object]>([
    [200, { kind: "ok" }],
    [410, { kind: "gone" }],
    [403, { kind: "failed", reason: "status 403" }],
    [429, { kind: "retry", reason: "status 429", isThrottled: true }],
  ])("of get() that is answered with %d returns %j", async (status, result) => {
    const requests: string[] = [];
    answer = (request, response) => {
      requests.push(`${request.method} ${request.url}`);
      response.writeHead(status).end('{"connectedAt":"2026-01-01T00:00:00Z"}');
    };
    const api = open();
    await api.ready(endpoint);
    expect(await api.get(endpoint, "id=")).toEqual(result);
    expect(requests).toEqual(["GET /dev/@connections/id%3D"]);
  });

  test.each<[status: number, kind: string]>([
    [404, "failed"],
    [410, "failed"],
    [403, "failed"],
    [302, "failed"],
    [429, "retry"],
    [502, "retry"],
  ])("that receives %d with a proxy page returns the URL and the start of the page", async (status, kind) => {
    const page = `<html>\r\n<h1>\u001b[2J${"é".repeat(300)}`;
    answer = (_request, response) => response.writeHead(status, { "content-type": "text/html" }).end(page);
    const excerpt = `"<html>\\r\\n<h1>\\u001b[2J${"\\u00e9".repeat(184)}" …`;
    expect(await post(open(), endpoint, "id=", "{}")).toMatchObject({
      kind,
      reason: `status ${status} from ${endpoint}/@connections, which is not an answer of API Gateway: ${excerpt}`,
    });
  });

  test.each<[form: string, headers: Record<string, string>, body: string]>([
    ["API Gateway", { "x-amzn-errortype": "GoneException", "content-type": "application/json" }, ""],
    ["API Gateway with a suffix", { "x-amzn-errortype": "GoneException:http://internal.amazon.com/" }, ""],
    ["API Gateway with text", { "x-amzn-errortype": "GoneException" }, "The connection is gone."],
    ["an emulator without the header", {}, ""],
    ["an emulator with JSON", {}, '{"message":"Gone"}'],
    ["LocalStack", {}, '\n{"__type":"GoneException"}'],
  ])("that receives 410 in the form of %s returns gone", async (_form, headers, body) => {
    answer = (_request, response) => response.writeHead(410, headers).end(body);
    const api = open();
    expect(await post(api, endpoint, "id=", "{}")).toEqual({ kind: "gone" });
    expect(await remove(api, endpoint, "id=")).toEqual({ kind: "gone" });
    expect(await api.get(endpoint, "id=")).toEqual({ kind: "gone" });
  });

  test("returns one reason for pages that differ, so a report stays small", async () => {
    let count = 0;
    answer = (_request, response) => response.writeHead(502).end(`<p>Request ID: ${count++}`);
    const api = open();
    const results = [];
    for (let index = 0; index < 5; index++) results.push(await post(api, endpoint, `${index}=`, "{}"));
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
    expect(results[0]).toMatchObject({ reason: expect.stringContaining('"<p>Request ID: 0"') });
  });

  test.each<[name: string, answer: RequestListener]>([
    ["is never answered", () => undefined],
    ["is answered by a head alone", (_request, response) => response.writeHead(200).write("x")],
    [
      "is answered one byte at a time for ever",
      (_request, response) => {
        response.writeHead(200);
        const drip = setInterval(() => response.write("x"), 20);
        response.on("close", () => clearInterval(drip));
      },
    ],
  ])("that %s times out, and its connection is closed", async (_name, never) => {
    const api = open({ timeoutMs: 300 });
    let close: () => void = () => undefined;
    const closed = new Promise<void>((resolve) => {
      close = resolve;
    });
    answer = (request, response) => {
      request.socket.once("close", close);
      never(request, response);
    };
    expect(await post(api, endpoint, "id=", "{}")).toEqual({ kind: "retry", reason: "timeout" });
    await closed;
    answer = (_request, response) => response.end();
    // On a busy machine a call may take longer than the timeout, but not every call does.
    await expect.poll(() => post(api, endpoint, "id=", "{}")).toEqual({ kind: "ok" });
  });

  test("that is reset or rejected by the network returns the error code", async () => {
    const api = open();
    answer = (request) => request.socket.destroy();
    expect(await post(api, endpoint, "id=", "{}")).toEqual({ kind: "retry", reason: "UND_ERR_SOCKET" });
    expect(await post(api, "http://127.0.0.1:2/dev", "id=", "{}")).toEqual({
      kind: "retry",
      reason: "ECONNREFUSED",
    });
  });

  test("fails if the HTTP client cannot send", async () => {
    class Stub {
      async destroy() {}
    }
    load = async () => Stub as unknown as ClientClass;
    const api = open({ timeoutMs: 300 });
    expect(await post(api, endpoint, "id=", "{}")).toMatchObject({
      kind: "retry",
      reason: expect.stringContaining("dispatch"),
    });
    expect(await remove(api, endpoint, "id=")).toMatchObject({ kind: "retry" });
  });

  test("ends when the API is closed", async () => {
    const api = open();
    const arrived = new Promise<void>((resolve) => {
      answer = () => resolve();
    });
    const sent = post(api, endpoint, "id=", "{}");
    await arrived;
    await api.close();
    expect(await sent).toMatchObject({ kind: "retry" });
  });

  test("B43 reuses a connection", async () => {
    const ports = new Set<number | undefined>();
    answer = (request, response) => {
      ports.add(request.socket.remotePort);
      response.end();
    };
    const api = open();
    for (let call = 0; call < 10; call++) {
      await post(api, endpoint, `${call}=`, "{}");
      // fetch() frees a connection after it has returned the response.
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(ports.size).toBeLessThan(10);
  });
});

const KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };

/** Returns true if the signature of a request matches its method, path, headers and body. */
async function isSigned(request: IncomingMessage, secret = KEY.secretAccessKey): Promise<boolean> {
  let body = "";
  for await (const chunk of request) body += chunk;
  const [, id = "", day = "", region = "", names = "", signature] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/execute-api\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? "",
    ) ?? [];
  const hash = (text: string) => createHash("sha256").update(text).digest("hex");
  const canonical = [
    request.method,
    (request.url ?? "").split("/").map(encodeURIComponent).join("/"),
    "",
    ...names.split(";").map((name) => `${name}:${request.headers[name]}`),
    "",
    names,
    hash(body),
  ].join("\n");
  const date = request.headers["x-amz-date"];
  const toSign = `AWS4-HMAC-SHA256\n${date}\n${day}/${region}/execute-api/aws4_request\n${hash(canonical)}`;
  const key = [day, region, "execute-api", "aws4_request"].reduce<Buffer>(
    (last, part) => createHmac("sha256", last).update(part).digest(),
    Buffer.from(`AWS4${secret}`),
  );
  expect(request.headers["x-amz-content-sha256"]).toBe(hash(body));
  return id.startsWith("AK") && createHmac("sha256", key).update(toSign).digest("hex") === signature;
}

describe.each(CLIENTS)("a signed call over %s", (_client, given) => {
  beforeEach(() => {
    load = given;
  });

  test("has a valid signature for any connection id and frame", async () => {
    const signed: boolean[] = [];
    answer = async (request, response) => {
      signed.push(await isSigned(request));
      response.end();
    };
    const api = open({ credentials: KEY, region: "eu-west-1" });
    for (const id of ["L0SM9cOFvHcCIhw=", "a/b+c%3D", "é"]) {
      expect(await post(api, endpoint, id, '{"words":"é ü"}')).toEqual({ kind: "ok" });
      expect(await remove(api, endpoint, id)).toEqual({ kind: "ok" });
    }
    expect(signed).toEqual(Array(6).fill(true));
  });

  test("with a wrong local clock fails once and then uses the time of the response", async () => {
    const wrong = 7 * 60_000;
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - wrong });
    const dates: number[] = [];
    answer = (request, response) => {
      const [, y, mo, d, h, mi, s] =
        /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(`${request.headers["x-amz-date"]}`) ?? [];
      const signedAt = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
      dates.push(signedAt);
      const now = Date.now() + wrong;
      response.setHeader("date", new Date(now).toUTCString());
      response.writeHead(Math.abs(signedAt - now) > 5 * 60_000 ? 403 : 200).end();
    };
    const api = open({ credentials: KEY, region: "eu-west-1" });
    const first = await post(api, endpoint, "id=", "{}");
    expect(first).toEqual({ kind: "retry", reason: "status 403: this machine's clock is wrong" });
    expect(await post(api, endpoint, "id=", "{}")).toEqual({ kind: "ok" });
    answer = (_request, response) => response.writeHead(403).end();
    expect(await post(api, endpoint, "id=", "{}")).toEqual({ kind: "failed", reason: "status 403" });
    vi.useRealTimers();
  });

  test("B43 uses credentials that are fetched once, and again before they expire", async () => {
    const ids: string[] = [];
    answer = (request, response) => {
      ids.push(/Credential=([^/]+)/.exec(`${request.headers.authorization}`)?.[1] ?? "");
      response.end();
    };
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    let fetched = 0;
    const credentials = async () => ({
      accessKeyId: `AK${++fetched}`,
      secretAccessKey: "s",
      expiration: new Date(Date.now() + (fetched === 1 ? 60_000 : 3_600_000)),
    });
    const api = open({ credentials, region: "eu-west-1" });
    await Promise.all(["1=", "2=", "3="].map((id) => post(api, endpoint, id, "{}")));
    expect(fetched).toBe(1);
    vi.advanceTimersByTime(31_000);
    await post(api, endpoint, "4=", "{}");
    await post(api, endpoint, "5=", "{}");
    vi.useRealTimers();
    expect(fetched).toBe(2);
    expect(ids).toEqual(["AK1", "AK1", "AK1", "AK1", "AK2"]);
  });

  test("without credentials fails, and does not fetch them again for each recipient", async () => {
    let fetches = 0;
    const api = open({
      region: "eu-west-1",
      credentials: () => {
        fetches++;
        return Promise.reject(new Error("the metadata service is silent"));
      },
    });
    for (let call = 0; call < 3; call++) {
      expect(await post(api, endpoint, "id=", "{}")).toEqual({
        kind: "retry",
        reason:
          "AWS credentials could not be loaded (the metadata service is silent). Check the credential provider.",
      });
    }
    expect(fetches).toBe(1);
  });

  test("to a custom domain fails without a region", async () => {
    for (const name of ["AWS_REGION", "AWS_DEFAULT_REGION"]) vi.stubEnv(name, "");
    const api = open({ credentials: KEY });
    expect(await post(api, "https://ws.example.com", "id=", "{}")).toMatchObject({
      kind: "failed",
      reason: expect.stringContaining("apiGateway: { region }"),
    });
  });

  test("B44 is signed for the region in the AWS endpoint, with credentials from the environment", async () => {
    vi.stubEnv("AWS_ACCESS_KEY_ID", "AKENV");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "s");
    vi.stubEnv("AWS_SESSION_TOKEN", "t");
    const sign = vi.spyOn(Signer.prototype, "sign");
    const api = open({ timeoutMs: 1 });
    for (const host of [
      "a.execute-api.eu-west-1.amazonaws.com",
      "a.execute-api.cn-north-1.amazonaws.com.cn",
      "a-vpce-1.execute-api.us-east-1.vpce.amazonaws.com",
      "a.execute-api.eusc-de-east-1.amazonaws.eu",
      "a.execute-api.us-iso-east-1.c2s.ic.gov",
    ]) {
      await post(api, `https://${host}/prod`, "id=", "{}");
    }
    const credentials = sign.mock.results.map(
      ({ value }) => `${value.authorization} ${value["x-amz-security-token"]}`,
    );
    sign.mockRestore();
    expect(credentials[0]).toMatch(/Credential=AKENV\/\d{8}\/eu-west-1\/execute-api\/.* t$/);
    expect(credentials[1]).toContain("/cn-north-1/");
    expect(credentials[2]).toContain("/us-east-1/");
    expect(credentials[3]).toContain("/eusc-de-east-1/");
    expect(credentials[4]).toContain("/us-iso-east-1/");
  });
});
