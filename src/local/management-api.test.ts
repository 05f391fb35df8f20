import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import {
  ApiGatewayManagementApiClient,
  DeleteConnectionCommand,
  GetConnectionCommand,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import { describe, expect, onTestFinished, test } from "vitest";
import { openClient, openRaw, startBackend, startGateway } from "../../test/local/rig.ts";
import { ManualClock } from "./clock.ts";
import type { LocalGateway } from "./emulator.ts";

const KB = 1024;
const UNKNOWN = "AAAAAAAAAAAAAAA=";

function sdk(endpoint: string): ApiGatewayManagementApiClient {
  const client = new ApiGatewayManagementApiClient({
    endpoint,
    region: "eu-west-1",
    credentials: { accessKeyId: "none", secretAccessKey: "none" },
    maxAttempts: 1,
  });
  onTestFinished(() => client.destroy());
  return client;
}

async function setUp(options = {}, headers: Record<string, string> = { "User-Agent": "tester" }) {
  const backend = await startBackend();
  const gateway = await startGateway(backend, options);
  const client = await openClient(gateway.url, [], { headers });
  const ConnectionId = String((await backend.call("connect")).headers.connectionid);
  return { backend, gateway, client, ConnectionId, api: sdk(gateway.endpoint) };
}

/** Sends a request with its path unchanged. */
async function raw(gateway: LocalGateway, method: string, path: string, body?: string | Buffer) {
  const request = httpRequest({ port: gateway.port, host: "127.0.0.1", method, path });
  request.end(body);
  const [response] = await once(request, "response");
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode as number, headers: response.headers, text };
}

describe("POST", () => {
  test.each(["gone", "limitExceeded"] as const)(
    "is answered with 500 if the function of the fault %s throws",
    async (name) => {
      const errors: unknown[] = [];
      const onError = (error: unknown, where: string) => errors.push([(error as Error).message, where]);
      const { gateway, client, ConnectionId } = await setUp({ onError });
      const path = `/dev/@connections/${encodeURIComponent(ConnectionId)}`;
      gateway.setFaults({
        [name]: () => {
          throw new Error("broken");
        },
      });
      const { status, text } = await raw(gateway, "POST", path, "lost");
      expect([status, text]).toEqual([500, '{"message":"Internal server error"}']);
      expect(errors).toEqual([["broken", "POST @connections"]]);
      gateway.setFaults({});
      expect((await raw(gateway, "POST", path, "next")).status).toBe(200);
      expect(await client.text()).toBe("next");
    },
  );

  test("sends one text message", async () => {
    const { api, client, ConnectionId } = await setUp();
    const Data = '{"hello":"wörld"}';
    const { $metadata } = await api.send(new PostToConnectionCommand({ ConnectionId, Data }));
    expect($metadata.httpStatusCode).toBe(200);
    expect($metadata.requestId).toBeDefined();
    expect(await client.message()).toEqual({ text: Data, isBinary: false });
  });

  test("has the status and the headers of an answer of AWS", async () => {
    const { gateway, ConnectionId } = await setUp();
    const answer = await raw(gateway, "POST", `/dev/@connections/${encodeURIComponent(ConnectionId)}`, "x");
    expect(answer.status).toBe(200);
    expect(answer.text).toBe("");
    expect(answer.headers).toMatchObject({ "content-type": "application/json", "content-length": "0" });
    expect(answer.headers["x-amzn-requestid"]).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers["x-amz-apigw-id"]).toMatch(/^[A-Za-z0-9_-]{15}=$/);
  });

  test("is accepted at %40connections too", async () => {
    const { gateway, client, ConnectionId } = await setUp();
    const path = `/dev/%40connections/${encodeURIComponent(ConnectionId)}`;
    expect((await raw(gateway, "POST", path, "x")).status).toBe(200);
    expect(await client.text()).toBe("x");
  });

  test("without data sends an empty text message", async () => {
    const { api, client, ConnectionId } = await setUp();
    await api.send(new PostToConnectionCommand({ ConnectionId, Data: undefined as unknown as string }));
    expect(await client.message()).toEqual({ text: "", isBinary: false });
    await api.send(new PostToConnectionCommand({ ConnectionId, Data: "" }));
    expect(await client.message()).toEqual({ text: "", isBinary: false });
  });

  test("keeps the order of posts that wait for each other", async () => {
    const { api, client, ConnectionId } = await setUp();
    for (const Data of ["1", "2", "3"]) await api.send(new PostToConnectionCommand({ ConnectionId, Data }));
    expect([await client.text(), await client.text(), await client.text()]).toEqual(["1", "2", "3"]);
  });

  test("sends 128 KB as one message in frames of at most 32 KB", async () => {
    const { gateway, backend } = await setUp();
    const socket = await openRaw(gateway);
    const ConnectionId = String((await backend.call("connect", 2)).headers.connectionid);
    // Each character has three bytes, so frames end within a character.
    const text = `ab${"€".repeat((128 * KB - 2) / 3)}`;
    expect(Buffer.byteLength(text)).toBe(128 * KB);
    await sdk(gateway.endpoint).send(new PostToConnectionCommand({ ConnectionId, Data: text }));
    const frames = [await socket.frame(), await socket.frame(), await socket.frame(), await socket.frame()];
    expect(frames.map(({ opcode, fin, payload }) => [opcode, fin, payload.length])).toEqual([
      [1, false, 32 * KB],
      [0, false, 32 * KB],
      [0, false, 32 * KB],
      [0, true, 32 * KB],
    ]);
    expect(Buffer.concat(frames.map((frame) => frame.payload)).toString()).toBe(text);
  });

  test("of more than 128 KB is rejected with PayloadTooLargeException", async () => {
    const { api, ConnectionId } = await setUp();
    const posting = api.send(new PostToConnectionCommand({ ConnectionId, Data: "x".repeat(128 * KB + 1) }));
    await expect(posting).rejects.toMatchObject({
      name: "PayloadTooLargeException",
      $metadata: { httpStatusCode: 413 },
    });
  });

  test("of more than 128 KB without a Content-Length is rejected with 413", async () => {
    const { gateway, ConnectionId } = await setUp();
    const request = httpRequest(`${gateway.endpoint}/@connections/${encodeURIComponent(ConnectionId)}`, {
      method: "POST",
    });
    request.on("error", () => {});
    request.write("x".repeat(100 * KB));
    request.end("x".repeat(100 * KB));
    const [response] = await once(request, "response");
    expect(response.statusCode).toBe(413);
    response.resume();
  });

  test("that was too large leaves its connection usable", async () => {
    const { gateway, client, ConnectionId } = await setUp();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const post = async (body: string) => {
      const url = `${gateway.endpoint}/@connections/${encodeURIComponent(ConnectionId)}`;
      const request = httpRequest(url, { method: "POST", agent });
      request.end(body);
      const [response] = await once(request, "response");
      response.resume();
      await once(response, "end");
      return [response.statusCode, request.reusedSocket];
    };
    expect(await post("x".repeat(4_000 * KB))).toEqual([413, false]);
    expect(await post("y")).toEqual([200, true]);
    expect(await client.text()).toBe("y");
  });

  test("of invalid UTF-8 is rejected with 400", async () => {
    const { api, ConnectionId } = await setUp();
    const posting = api.send(new PostToConnectionCommand({ ConnectionId, Data: Buffer.from([0xc3, 0x28]) }));
    await expect(posting).rejects.toMatchObject({
      name: "BadRequestException",
      $metadata: { httpStatusCode: 400 },
    });
  });

  test("to a client that does not read is eventually rejected with LimitExceededException", async () => {
    const { gateway, backend } = await setUp();
    const socket = await openRaw(gateway);
    socket.socket.pause();
    const ConnectionId = String((await backend.call("connect", 2)).headers.connectionid);
    const api = sdk(gateway.endpoint);
    const flood = async () => {
      for (let count = 0; count < 500; count++) {
        await api.send(new PostToConnectionCommand({ ConnectionId, Data: "x".repeat(128 * KB) }));
      }
    };
    await expect(flood()).rejects.toMatchObject({
      name: "LimitExceededException",
      $metadata: { httpStatusCode: 429 },
    });
  });
});

describe("a simulated fault", () => {
  test("answers a post with 410, and keeps the connection open", async () => {
    const { api, gateway, client, ConnectionId } = await setUp();
    gateway.setFaults({ gone: 1 });
    await expect(api.send(new PostToConnectionCommand({ ConnectionId, Data: "lost" }))).rejects.toMatchObject(
      {
        name: "GoneException",
      },
    );
    await api.send(new GetConnectionCommand({ ConnectionId }));
    gateway.setFaults({});
    await api.send(new PostToConnectionCommand({ ConnectionId, Data: "sent" }));
    expect(await client.text()).toBe("sent");
  });

  test("answers posts to selected connections with 429", async () => {
    const { api, gateway, client, backend, ConnectionId } = await setUp();
    const other = await openClient(gateway.url);
    const otherId = String((await backend.call("connect", 2)).headers.connectionid);
    gateway.setFaults({ limitExceeded: (id) => id === ConnectionId });
    await expect(api.send(new PostToConnectionCommand({ ConnectionId, Data: "lost" }))).rejects.toMatchObject(
      {
        name: "LimitExceededException",
      },
    );
    await api.send(new PostToConnectionCommand({ ConnectionId: otherId, Data: "sent" }));
    expect(await other.text()).toBe("sent");
    expect(client.unread).toBe(0);
  });
});

describe("GET", () => {
  test("describes the connection", async () => {
    const clock = new ManualClock();
    const { api, backend, client, ConnectionId } = await setUp({ clock });
    const before = await api.send(new GetConnectionCommand({ ConnectionId }));
    expect(before.Identity).toEqual({ SourceIp: "127.0.0.1", UserAgent: "tester" });
    const connectedAt = Number((await backend.call("connect")).headers["x-sallyport-connected-at"]);
    expect(before.ConnectedAt?.getTime()).toBe(connectedAt);
    clock.advance(5);
    client.socket.send("{}");
    await client.text();
    const after = await api.send(new GetConnectionCommand({ ConnectionId }));
    expect(after.ConnectedAt).toEqual(before.ConnectedAt);
    expect(after.LastActiveAt?.getTime()).toBe(Number(before.LastActiveAt?.getTime()) + 5);
  });

  test("has the same JSON formatting as on AWS", async () => {
    const { gateway, ConnectionId } = await setUp({}, { "User-Agent": 'quo"te' });
    const answer = await raw(gateway, "GET", `/dev/@connections/${encodeURIComponent(ConnectionId)}`);
    expect(answer.headers["content-type"]).toBe("application/json");
    expect(answer.headers["content-length"]).toBe(String(Buffer.byteLength(answer.text)));
    expect(answer.text).toMatch(
      /^\{\n {2}"identity" : \{\n {4}"sourceIp" : "127\.0\.0\.1",\n {4}"userAgent" : "quo\\"te"\n {2}\},\n {2}"connectedAt" : "[-\d]+T[:.\d]+Z",\n {2}"lastActiveAt" : "[-\d]+T[:.\d]+Z"\n\}$/,
    );
  });

  test("has a null userAgent for a client that sent none", async () => {
    const { gateway, backend } = await setUp();
    await openRaw(gateway);
    const id = encodeURIComponent(String((await backend.call("connect", 2)).headers.connectionid));
    const answer = await raw(gateway, "GET", `/dev/@connections/${id}`);
    expect(JSON.parse(answer.text).identity).toEqual({ sourceIp: "127.0.0.1", userAgent: null });
  });
});

describe("DELETE", () => {
  test("closes the connection with 1000 Connection Closed Normally and calls $disconnect", async () => {
    const { api, backend, client, ConnectionId } = await setUp();
    const { $metadata } = await api.send(new DeleteConnectionCommand({ ConnectionId }));
    expect($metadata.httpStatusCode).toBe(204);
    expect(await client.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
    expect((await backend.call("disconnect")).headers).toMatchObject({
      connectionid: ConnectionId,
      "x-sallyport-disconnect-code": "1000",
      "x-sallyport-disconnect-reason": "Connection Closed Normally",
    });
  });

  test("makes later posts fail with GoneException immediately", async () => {
    const { api, ConnectionId } = await setUp();
    await api.send(new DeleteConnectionCommand({ ConnectionId }));
    const again = api.send(new PostToConnectionCommand({ ConnectionId, Data: "x" }));
    await expect(again).rejects.toMatchObject({ name: "GoneException" });
  });

  test("has neither body nor content type", async () => {
    const { gateway, ConnectionId } = await setUp();
    const answer = await raw(gateway, "DELETE", `/dev/@connections/${encodeURIComponent(ConnectionId)}`);
    expect(answer.status).toBe(204);
    expect(answer.text).toBe("");
    expect(answer.headers).not.toHaveProperty("content-type");
  });
});

describe("an unknown connection", () => {
  test.each([
    ["POST", new PostToConnectionCommand({ ConnectionId: UNKNOWN, Data: "x" })],
    ["GET", new GetConnectionCommand({ ConnectionId: UNKNOWN })],
    ["DELETE", new DeleteConnectionCommand({ ConnectionId: UNKNOWN })],
  ])("causes GoneException for %s", async (_method, command) => {
    const { api } = await setUp();
    await expect(api.send(command as PostToConnectionCommand)).rejects.toMatchObject({
      name: "GoneException",
      $metadata: { httpStatusCode: 410 },
    });
  });

  test("causes 410 without a body", async () => {
    const { gateway } = await setUp();
    const answer = await raw(gateway, "POST", `/dev/@connections/${encodeURIComponent(UNKNOWN)}`, "x");
    expect(answer.status).toBe(410);
    expect(answer.text).toBe("");
    expect(answer.headers).toMatchObject({
      "x-amzn-errortype": "GoneException",
      "content-length": "0",
      "content-type": "application/json",
    });
  });

  test("includes one with a client that disconnected", async () => {
    const { api, backend, client, ConnectionId } = await setUp();
    client.socket.close();
    await backend.call("disconnect");
    const posting = api.send(new PostToConnectionCommand({ ConnectionId, Data: "x" }));
    await expect(posting).rejects.toMatchObject({ name: "GoneException" });
  });

  test("includes one with a pending $connect", async () => {
    const { backend, gateway, api } = await setUp();
    const seen: unknown[] = [];
    backend.behaviour = async (call) => {
      if (!call.path.endsWith("/connect")) return {};
      const ConnectionId = String(call.headers.connectionid);
      const posting = api.send(new PostToConnectionCommand({ ConnectionId, Data: "too early" }));
      seen.push(await posting.catch((error: Error) => error.name));
      return {};
    };
    const client = await openClient(gateway.url);
    expect(seen).toEqual(["GoneException"]);
    const ConnectionId = String((await backend.call("connect", 2)).headers.connectionid);
    await api.send(new PostToConnectionCommand({ ConnectionId, Data: "now" }));
    expect(await client.text()).toBe("now");
  });
});

describe("a malformed id", () => {
  test.each(["x", "1234567890abcdef", "AAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAA+A=", "ä"])(
    "is rejected with 400: %s",
    async (ConnectionId) => {
      const { gateway, api } = await setUp();
      const getting = api.send(new GetConnectionCommand({ ConnectionId }));
      await expect(getting).rejects.toMatchObject({ name: "BadRequestException" });
      const answer = await raw(gateway, "POST", `/dev/@connections/${encodeURIComponent(ConnectionId)}`, "x");
      expect(answer.status).toBe(400);
      expect(answer.text).toBe(JSON.stringify({ message: `Invalid connectionId: ${ConnectionId}` }));
      expect(answer.headers["x-amzn-errortype"]).toBe("BadRequestException");
    },
  );
});

describe("any other path or method", () => {
  test.each([
    ["another stage", "/prod/@connections/ID"],
    ["no stage", "/@connections/ID"],
    ["a double slash", "/dev//@connections/ID"],
    ["a trailing slash", "/dev/@connections/ID/"],
    ["no id", "/dev/@connections"],
    ["a look-alike", "/dev/connections/ID"],
    ["dots", "/x/../dev/@connections/ID"],
    ["an escaped stage", "/%64ev/@connections/ID"],
    ["the root", "/"],
  ])("is rejected with 403: %s", async (_what, path) => {
    // The root is the page of the inspector otherwise.
    const { gateway, ConnectionId } = await setUp({ inspector: path !== "/" });
    for (const method of ["POST", "GET", "DELETE"]) {
      const answer = await raw(gateway, method, path.replace("ID", encodeURIComponent(ConnectionId)));
      expect(answer.status).toBe(403);
      expect(answer.text).toBe('{"message":"Forbidden"}');
      expect(answer.headers["x-amzn-errortype"]).toBe("ForbiddenException");
    }
  });

  test.each([
    ["a trailing slash", "/"],
    ["no stage", "/.."],
    ["another stage", "/../prod"],
  ])("causes ForbiddenException for an SDK with an endpoint that has %s", async (_what, suffix) => {
    const { gateway, ConnectionId } = await setUp();
    const posting = sdk(gateway.endpoint + suffix).send(
      new PostToConnectionCommand({ ConnectionId, Data: "x" }),
    );
    await expect(posting).rejects.toMatchObject({ name: "ForbiddenException" });
  });

  test("is rejected with 403 for PUT, HEAD and PATCH", async () => {
    const { gateway, ConnectionId } = await setUp();
    for (const method of ["PUT", "HEAD", "PATCH"]) {
      const answer = await raw(gateway, method, `/dev/@connections/${encodeURIComponent(ConnectionId)}`);
      expect(answer.status).toBe(403);
    }
  });
});

test("a connection of another gateway causes GoneException", async () => {
  const { ConnectionId } = await setUp();
  const { api } = await setUp();
  const posting = api.send(new PostToConnectionCommand({ ConnectionId, Data: "x" }));
  await expect(posting).rejects.toMatchObject({ name: "GoneException" });
});
