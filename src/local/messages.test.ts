import { describe, expect, test } from "vitest";
import { deadTarget, openClient, startBackend, startGateway } from "../../test/local/rig.ts";

describe("an answer to a message", () => {
  test("reaches the client as one text message", async () => {
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

  test("to $connect is not sent to the client", async () => {
    const backend = await startBackend((call) => ({
      body: call.path.endsWith("/connect") ? "welcome" : "answer",
    }));
    const client = await openClient((await startGateway(backend)).url);
    client.socket.send("{}");
    expect(await client.text()).toBe("answer");
  });

  test("is not sent without route responses, for any status", async () => {
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
    "with a 4xx or 5xx status is sent with its body (%s)",
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

  test("with a 4xx or 5xx status becomes an error frame with onHttpError: errorFrame", async () => {
    const backend = await startBackend((call) =>
      call.path.endsWith("/default") ? { status: 500, body: "no" } : {},
    );
    const client = await openClient((await startGateway(backend, { onHttpError: "errorFrame" })).url);
    client.socket.send("{}");
    expect(await client.text()).toContain('"Internal server error"');
  });

  test("with a 4xx or 5xx status is not sent with onHttpError: silent", async () => {
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
  ])("that is %s becomes an error frame", async (_what, body) => {
    const backend = await startBackend((call) => (call.path.endsWith("/default") ? { body } : {}));
    const client = await openClient((await startGateway(backend)).url);
    client.socket.send("{}");
    expect(await client.text()).toContain('"Internal server error"');
  });

  test("of 128 KB reaches the client completely", async () => {
    const body = "é".repeat(64 * 1024);
    const backend = await startBackend((call) => (call.path.endsWith("/default") ? { body } : {}));
    const client = await openClient((await startGateway(backend)).url);
    client.socket.send("{}");
    expect(await client.text()).toBe(body);
  });
});

describe("an error frame", () => {
  test("contains Internal server error if the backend is unreachable, and the connection stays open", async () => {
    const dead = await deadTarget();
    const reported: string[] = [];
    const backend = await startBackend();
    const gateway = await startGateway(backend, {
      routes: { dead },
      routeResponses: false,
      onError: (_error, where) => reported.push(where),
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
    expect(reported).toEqual(["dead"]);
    client.socket.send("{}");
    await backend.call("default");
  });

  test("contains Endpoint request timed out and the request id if the backend is too slow", async () => {
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

test("messages run concurrently and are answered as they finish", async () => {
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

test("2000 messages in a row are all answered", async () => {
  const backend = await startBackend((call) => ({ body: call.body }));
  const client = await openClient((await startGateway(backend)).url);
  for (let index = 0; index < 2_000; index++) client.socket.send(String(index));
  const answers = new Set<string>();
  for (let index = 0; index < 2_000; index++) answers.add(await client.text());
  expect(answers.size).toBe(2_000);
});

describe("routes", () => {
  test("receive their own messages, and $default receives the others", async () => {
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

  test("can be selected by another expression", async () => {
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
