import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  Client,
  deadTarget,
  deferred,
  openClient,
  rejectionOf,
  startBackend,
  startGateway,
} from "../../test/local/rig.ts";
import { ConfigurationError } from "../errors.ts";
import { type HandledEvent, type LocalGatewayOptions, startLocalGateway } from "./emulator.ts";

describe("a local gateway", () => {
  test("has a URL, an endpoint, an API id and a stage", async () => {
    const gateway = await startGateway(await startBackend(), { stage: "prod-1", apiId: "a1b2c3d4e5" });
    expect(gateway.port).toBeGreaterThan(0);
    expect(gateway.url).toBe(`ws://127.0.0.1:${gateway.port}/prod-1`);
    expect(gateway.endpoint).toBe(`http://127.0.0.1:${gateway.port}/prod-1`);
    expect([gateway.apiId, gateway.stage]).toEqual(["a1b2c3d4e5", "prod-1"]);
    await openClient(gateway.url);
  });

  test("has an API id of ten lower-case letters and digits", async () => {
    expect((await startGateway(await startBackend())).apiId).toMatch(/^[a-z0-9]{10}$/);
  });

  test("counts open connections", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const clients = [await openClient(gateway.url), await openClient(gateway.url)];
    expect(gateway.connectionCount).toBe(2);
    clients[0]?.socket.close();
    await backend.call("disconnect");
    expect(gateway.connectionCount).toBe(1);
  });

  test("accepts a target with a trailing slash", async () => {
    const backend = await startBackend();
    await openClient((await startGateway(`${backend.target}/`)).url);
    expect(backend.calls[0]?.path).toBe("/ws/chat/connect");
  });

  test("survives a listener that throws", async () => {
    const backend = await startBackend(() => new Promise(() => {}));
    const onError = () => {
      throw new Error("listener");
    };
    const gateway = await startGateway(backend, { integrationTimeoutMs: 50, onError });
    expect((await rejectionOf(gateway.url)).status).toBe(504);
  });
});

describe("onEvent", () => {
  test("receives each event with its route, its status and the message", async () => {
    const backend = await startBackend(({ path }) => ({
      status: path.endsWith("default") ? 403 : 200,
      body: '{"ok":false}',
    }));
    const events: HandledEvent[] = [];
    const gateway = await startGateway(backend, { onEvent: (event) => void events.push(event) });
    const client = await openClient(`${gateway.url}?channel=a`);
    client.socket.send('{"id":1}');
    await expect.poll(() => events.length).toBe(2);
    client.socket.close();
    await expect.poll(() => events.length).toBe(3);
    const [connect, message, disconnect] = events;
    const { apiId, stage } = gateway;
    expect(connect).toMatchObject({
      kind: "connect",
      apiId,
      stage,
      status: 200,
      query: "channel=a",
      body: "",
    });
    expect(message).toMatchObject({
      kind: "message",
      routeKey: "$default",
      status: 403,
      body: '{"id":1}',
      response: '{"ok":false}',
    });
    expect(disconnect).toMatchObject({ kind: "disconnect", connectionId: connect?.connectionId, body: "" });
    for (const { tookMs, outcome } of events) expect([tookMs >= 0, outcome]).toEqual([true, "answered"]);
  });

  test("receives a call without an answer, and an error that it throws is passed to onError", async () => {
    const errors: unknown[] = [];
    const gateway = await startLocalGateway({
      target: await deadTarget(),
      port: 0,
      onEvent: ({ outcome, status }) => {
        throw new Error(`listener: ${outcome} ${status}`);
      },
      onError: (error, where) => errors.push([where, String(error)]),
    });
    onTestFinished(() => gateway.close());
    expect((await rejectionOf(gateway.url)).status).toBe(500);
    expect(errors).toContainEqual(["onEvent", "Error: listener: unreachable undefined"]);
  });
});

describe("closing", () => {
  test("closes each connection with 1001, calls $disconnect, and frees the port", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const clients = [await openClient(gateway.url), await openClient(gateway.url)];
    await gateway.close();
    for (const client of clients) expect(await client.closed).toEqual({ code: 1001, reason: "Going away" });
    expect(backend.to("disconnect")).toHaveLength(2);
    expect(gateway.connectionCount).toBe(0);
    await startGateway(backend, { port: gateway.port });
  });

  test("can be called several times", async () => {
    const gateway = await startGateway(await startBackend());
    await openClient(gateway.url);
    await Promise.all([gateway.close(), gateway.close()]);
    await gateway.close();
  });

  test("waits for an integration in flight", async () => {
    let finish = () => {};
    const backend = await startBackend((call) =>
      call.body
        ? new Promise((resolve) => {
            finish = () => resolve({});
          })
        : {},
    );
    const gateway = await startGateway(backend);
    const client = await openClient(gateway.url);
    client.socket.send("slow");
    await backend.call("default");
    let closed = false;
    const closing = gateway.close().then(() => {
      closed = true;
    });
    await backend.call("disconnect");
    expect(closed).toBe(false);
    finish();
    await closing;
  });

  test("aborts the call to a backend that does not answer, and the pending upgrade with it", async () => {
    const backend = await startBackend(() => new Promise(() => {}));
    // The integration timeout is set on a stopped clock, so only close() can end the call.
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const gateway = await startGateway(backend);
    const client = new Client(gateway.url);
    await backend.call("connect");
    vi.useRealTimers();
    await gateway.close();
    expect((await client.closed).code).toBe(1006);
    expect(backend.calls).toHaveLength(1);
  });

  test("rejects with 503 an upgrade that $connect accepts too late, and calls $disconnect", async () => {
    let admit = () => {};
    const backend = await startBackend((call) =>
      call.path.endsWith("/connect")
        ? new Promise((resolve) => {
            admit = () => resolve({});
          })
        : {},
    );
    const gateway = await startGateway(backend);
    const rejection = rejectionOf(gateway.url);
    await backend.call("connect");
    const closing = gateway.close();
    admit();
    expect((await rejection).status).toBe(503);
    await closing;
    expect(backend.to("disconnect")[0]?.headers["x-sallyport-disconnect-code"]).toBe("1006");
  });
});

test("an upgrade with an authorizer in flight is rejected on close(), and no integration runs", async () => {
  const authorizerCalled = deferred<void>();
  const answer = deferred<object>();
  let connects = 0;
  const $connect = {
    integration: { type: "AWS_PROXY", handler: () => ({ statusCode: 200 + connects++ }) },
    authorization: {
      type: "CUSTOM",
      handler: () => {
        authorizerCalled.resolve();
        return answer.promise;
      },
    },
  } as const;
  const gateway = await startLocalGateway({ port: 0, apis: [{ routes: { $connect }, stages: { dev: {} } }] });
  const other = new Client(gateway.url);
  await authorizerCalled.promise;
  const closing = gateway.close();
  const Statement = { Effect: "Allow", Action: "*", Resource: "*" };
  answer.resolve({ principalId: "anna", policyDocument: { Statement } });
  await expect(other.opened).rejects.toThrow("503");
  await closing;
  expect(connects).toBe(0);
});

test("an upgrade with an authorizer that never answers is rejected with 503 on close()", async () => {
  const authorizerCalled = deferred<void>();
  const handler = () => {
    authorizerCalled.resolve();
    return new Promise(() => {});
  };
  const integration = { type: "AWS_PROXY", handler: () => ({ statusCode: 200 }) } as const;
  const $connect = { integration, authorization: { type: "CUSTOM", handler } } as const;
  const gateway = await startLocalGateway({ port: 0, apis: [{ routes: { $connect }, stages: { dev: {} } }] });
  const client = new Client(gateway.url);
  await authorizerCalled.promise;
  await gateway.close();
  await expect(client.opened).rejects.toThrow("503");
});

describe("an invalid option is rejected with the value to use instead", () => {
  test.each<[string, Partial<LocalGatewayOptions>, RegExp]>([
    ["no URL", { target: "localhost:3000" }, /target "localhost:3000" is not an http or https URL\. Write/],
    ["a target with another protocol", { target: "ws://localhost/" }, /is not an http or https URL/],
    ["a target with a query", { target: "http://localhost/?a=1" }, /Remove everything after the path/],
    [
      "a port that is out of range",
      { port: 65_536 },
      /port must be a whole number from 0 to 65535, but received 65536/,
    ],
    ["a port that is not a number", { port: Number.NaN }, /port must be a number, but received NaN/],
    ["an empty stage", { stage: "" }, /Use 1 to 128 letters/],
    ["a stage with a slash", { stage: "a/b" }, /stage "a\/b" is not a valid stage name/],
    ["a stage that is too long", { stage: "s".repeat(129) }, /Use 1 to 128 letters/],
    ["an empty secret", { secret: "" }, /Use 1 to 510 ASCII characters/],
    ["a secret that is too long", { secret: "s".repeat(511) }, /Use 1 to 510 ASCII characters/],
    ["a secret with a comma", { secret: "a,b" }, /without comma/],
    ["a secret with a space", { secret: "a b" }, /without comma/],
    ["a secret with a line break", { secret: "a\r\nb" }, /without comma/],
    [
      "a reserved route key",
      { routes: { $connect: "http://localhost/" } },
      /"\$connect" is not a custom route key/,
    ],
    [
      "a route without URL",
      { routes: { send: "/ws/send" } },
      /routes\["send"\] "\/ws\/send" is not an http or https URL/,
    ],
    [
      "an expression it cannot evaluate",
      { routeSelectionExpression: "$request.header.x" },
      /Write "\$request\.body\.action"/,
    ],
    ["a timeout of 0", { integrationTimeoutMs: 0 }, /^integrationTimeoutMs: .* from 50 to 29000/],
    [
      "an API id that cannot be a header",
      { apiId: "a\nb" },
      /apiId must be 1 to 64 lower-case letters and digits/,
    ],
    ["a host that is not on this machine", { host: "203.0.113.1" }, /Choose another host or port/],
  ])("%s", async (_what, options, words) => {
    const starting = startLocalGateway({ target: "http://localhost:3000/", port: 0, ...options });
    await expect(starting).rejects.toThrow(ConfigurationError);
    await expect(
      startLocalGateway({ target: "http://localhost:3000/", port: 0, ...options }),
    ).rejects.toThrow(words);
  });

  test("a port in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    await expect(startLocalGateway({ target: "http://localhost/", port })).rejects.toThrow(
      new ConfigurationError(`Port ${port} is in use. Stop the other program, or choose another port.`),
    );
    other.close();
  });
});
