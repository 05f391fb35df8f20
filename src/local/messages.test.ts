import { describe, expect, test } from "vitest";
import { deadTarget, openClient, startBackend, startGateway } from "../../test/local/rig.ts";

describe("an answer to a message", () => {
  test("reaches the client whole, as one text frame", async () => {
    const backend = await startBackend((call) => ({
      body: call.path.endsWith("/default") ? '{"ok":true}' : "",
    }));
    const client = await openClient((await startGateway(backend)).url);
    client.socket.send("{}");
    expect(await client.message()).toEqual({ text: '{"ok":true}', isBinary: false });
  });

  test("without a body is an empty message", async () => {
    const client = await openClient((await startGateway(await startBackend())).url);
    client.socket.send("{}");
    expect(await client.message()).toEqual({ text: "", isBinary: false });
  });

  test("to $connect is no message", async () => {
    const backend = await startBackend((call) => ({
      body: call.path.endsWith("/connect") ? "welcome" : "answer",
    }));
    const client = await openClient((await startGateway(backend)).url);
    client.socket.send("{}");
    expect(await client.text()).toBe("answer");
  });

  test("goes nowhere without route responses, whatever its status", async () => {
    let status = 200;
    const backend = await startBackend(() => ({ status, body: "answer" }));
    const gateway = await startGateway(backend, { routeResponses: false });
    const client = await openClient(gateway.url);
    client.socket.send("{}");
    await backend.call("default");
    status = 400;
    client.socket.send("{}");
    await backend.call("default", 2);
    client.socket.close();
    await client.closed;
    expect(client.unread).toBe(0);
  });

  test.each([undefined, "body"] as const)(
    "with a status of 4xx or 5xx passes its body through (%s)",
    async (onHttpError) => {
      const backend = await startBackend((call) =>
        call.path.endsWith("/default") ? { status: 403, body: "no" } : {},
      );
      const gateway = await startGateway(backend, onHttpError ? { onHttpError } : {});
      const client = await openClient(gateway.url);
      client.socket.send("{}");
      expect(await client.text()).toBe("no");
    },
  );

  test("with a status of 4xx or 5xx gives an error frame where that is asked for", async () => {
    const backend = await startBackend((call) =>
      call.path.endsWith("/default") ? { status: 500, body: "no" } : {},
    );
    const client = await openClient((await startGateway(backend, { onHttpError: "errorFrame" })).url);
    client.socket.send("{}");
    expect(await client.text()).toContain('"Internal server error"');
  });

  test("with a status of 4xx or 5xx gives nothing where that is asked for", async () => {
    const backend = await startBackend((call) =>
      call.body === "bad" ? { status: 500, body: "no" } : { body: "fine" },
    );
    const client = await openClient((await startGateway(backend, { onHttpError: "silent" })).url);
    client.socket.send("bad");
    await backend.call("default");
    client.socket.send("good");
    expect(await client.text()).toBe("fine");
  });

  test.each([
    ["too large for a message", "x".repeat(128 * 1024 + 1)],
    ["no UTF-8", Buffer.from([0xc3, 0x28])],
  ])("that is %s gives an error frame", async (_what, body) => {
    const backend = await startBackend((call) => (call.path.endsWith("/default") ? { body } : {}));
    const client = await openClient((await startGateway(backend)).url);
    client.socket.send("{}");
    expect(await client.text()).toContain('"Internal server error"');
  });

  test("of 128 KB arrives whole", async () => {
    const body = "é".repeat(64 * 1024);
    const backend = await startBackend((call) => (call.path.endsWith("/default") ? { body } : {}));
    const client = await openClient((await startGateway(backend)).url);
    client.socket.send("{}");
    expect(await client.text()).toBe(body);
  });
});

describe("an error frame", () => {
  test("says Internal server error when the backend cannot be reached, and the socket stays open", async () => {
    const dead = await deadTarget();
    const heard: string[] = [];
    const backend = await startBackend();
    const gateway = await startGateway(backend, {
      routes: { dead },
      routeResponses: false,
      onError: (_error, where) => heard.push(where),
    });
    const client = await openClient(gateway.url);
    const { connectionid } = (await backend.call("connect")).headers;
    client.socket.send('{"action":"dead"}');
    const frame = await client.text();
    const { requestId } = JSON.parse(frame);
    expect(requestId).toMatch(/^[A-Za-z0-9_-]{15}=$/);
    expect(frame).toBe(
      `{"message": "Internal server error", "connectionId":"${connectionid}", "requestId":"${requestId}"}`,
    );
    expect(heard).toEqual(["dead"]);
    client.socket.send("{}");
    await backend.call("default");
  });

  test("says Endpoint request timed out when the backend is too slow, and names the request", async () => {
    const backend = await startBackend((call) => (call.body ? new Promise(() => {}) : {}));
    const gateway = await startGateway(backend, { integrationTimeoutMs: 50, routeResponses: false });
    const client = await openClient(gateway.url);
    client.socket.send("{}");
    const { headers } = await backend.call("default");
    expect(await client.text()).toBe(
      `{"message": "Endpoint request timed out", "connectionId":"${headers.connectionid}", "requestId":"${headers["x-sallyport-request-id"]}"}`,
    );
  });
});

test("messages run at the same time and are answered as they finish", async () => {
  const release: Record<string, () => void> = {};
  const backend = await startBackend((call) =>
    call.body
      ? new Promise((resolve) => {
          release[call.body] = () => resolve({ body: call.body });
        })
      : {},
  );
  const client = await openClient((await startGateway(backend)).url);
  for (const text of ["1", "2", "3"]) client.socket.send(text);
  await backend.call("default", 3);
  const answers: string[] = [];
  for (const text of ["3", "1", "2"]) {
    release[text]?.();
    answers.push(await client.text());
  }
  expect(answers).toEqual(["3", "1", "2"]);
});

test("a flood of messages is answered in full", async () => {
  const backend = await startBackend((call) => ({ body: call.body }));
  const client = await openClient((await startGateway(backend)).url);
  for (let index = 0; index < 2_000; index++) client.socket.send(String(index));
  const answers = new Set<string>();
  for (let index = 0; index < 2_000; index++) answers.add(await client.text());
  expect(answers.size).toBe(2_000);
});

describe("routes", () => {
  test("take their own messages, the rest is $default's", async () => {
    const backend = await startBackend();
    const other = await startBackend();
    const gateway = await startGateway(backend, { routes: { "chat.send": `${other.target}/own?x=1` } });
    const client = await openClient(gateway.url);
    client.socket.send('{"action":"chat.send"}');
    await client.text();
    expect(other.calls[0]?.url).toBe("/ws/chat/own?x=1");
    expect(other.calls[0]?.headers["x-sallyport-route-key"]).toBe("chat.send");
    for (const text of [
      '{"action":"nope"}',
      "no json",
      '{"action":"$connect"}',
      '{"action":"$disconnect"}',
    ]) {
      client.socket.send(text);
      await client.text();
    }
    expect(backend.to("default").map((call) => call.headers["x-sallyport-route-key"])).toEqual(
      Array.from({ length: 4 }, () => "$default"),
    );
    expect(backend.to("connect")).toHaveLength(1);
    expect(backend.to("disconnect")).toHaveLength(0);
  });

  test("may be chosen by another expression", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend, {
      routes: { "chat/send": `${backend.target}/send` },
      // biome-ignore lint/suspicious/noTemplateCurlyInString: AWS's syntax
      routeSelectionExpression: "${request.body.service}/${request.body.to.verb}",
    });
    const client = await openClient(gateway.url);
    client.socket.send('{"service":"chat","to":{"verb":"send"}}');
    await backend.call("send");
  });
});
