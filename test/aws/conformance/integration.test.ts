import { describe, expect, test } from "vitest";
import { connected, headerOf, idOf, onDesk, openBackend, openDesk, say } from "./desk.ts";

describe("1.3 what reaches an HTTP backend", () => {
  test("1.3 on $connect: no body, the client's query and headers", async () => {
    const desk = await openDesk();
    const headers = {
      origin: "https://www.example.com",
      cookie: "a=1",
      "x-own": "mine",
      "user-agent": "browser/1",
    };
    const arrived = await connected(desk, {}, { query: { channel: "a/b" }, headers });
    const call = await arrived.called("connect");
    expect([call.method, call.body, headerOf(call, "content-length")]).toEqual(["POST", "", "0"]);
    expect(new URL(call.url, "http://x").searchParams.get("channel")).toBe("a/b");
    for (const [name, value] of Object.entries(headers)) expect(headerOf(call, name), name).toBe(value);
    expect(headerOf(call, "sec-websocket-key")).toBeDefined();
    expect(headerOf(call, "sec-websocket-version")).toBe("13");
    expect(headerOf(call, "upgrade")).toBeUndefined();
  });

  test("1.3 on a message: its text as it was sent, and nothing of the client's", async () => {
    const arrived = await connected(
      await openDesk(),
      {},
      { query: { channel: "x" }, headers: { cookie: "a=1", "x-own": "mine" } },
    );
    const text = ' { "a" : 1.0,\n "ü": "\u{1f600}", "answer": {"body":"got it"} } ';
    arrived.client.socket.send(text);
    expect(await arrived.client.text()).toBe("got it");
    const call = await arrived.called("default");
    expect(call.body).toBe(text);
    expect(new URL(call.url, "http://x").search).toBe("");
    for (const name of ["cookie", "x-own", "origin", "sec-websocket-key"])
      expect(headerOf(call, name), name).toBeUndefined();
  });

  test("1.3 on $disconnect: no body, no client header, and how it ended", async () => {
    const arrived = await connected(await openDesk(), {}, { headers: { cookie: "a=1" } });
    arrived.client.socket.close(4001, "done");
    const call = await arrived.called("disconnect");
    expect([call.body, headerOf(call, "cookie")]).toEqual(["", undefined]);
    expect(headerOf(call, "x-sallyport-disconnect-code")).toBe("4001");
    expect(headerOf(call, "x-sallyport-disconnect-reason")).toBe("done");
  });

  test("1.3 every call names the API, and a trace; the agent is the client's on $connect and AWS's own later", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk, {}, { headers: { "user-agent": "browser/1" } });
    say(arrived, { body: "ok" });
    await arrived.client.text();
    arrived.client.socket.close();
    for (const [kind, agent] of [
      ["connect", "browser/1"],
      ["default", `AmazonAPIGateway_${desk.apiId}`],
      ["disconnect", `AmazonAPIGateway_${desk.apiId}`],
    ] as const) {
      const call = await arrived.called(kind);
      expect(headerOf(call, "x-amzn-apigateway-api-id"), kind).toBe(desk.apiId);
      expect(headerOf(call, "x-amzn-trace-id"), kind).toMatch(/Root=1-[0-9a-f]{8}-[0-9a-f]{24}/);
      expect(headerOf(call, "user-agent"), kind).toBe(agent);
    }
  });

  onDesk("§9.6 a message is called JSON, and nothing is said of who forwarded it", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { body: "ok" });
    await arrived.client.text();
    const call = await arrived.called("default");
    expect(headerOf(call, "content-type")).toBe("application/json");
    for (const name of ["x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"])
      expect(headerOf(call, name), name).toBeUndefined();
  });

  test("1.3, §7 a mapped header overwrites the client's of the same name", async () => {
    const desk = await openDesk();
    const spoofed = {
      connectionId: "mine",
      "x-sallyport-route-key": "mine",
      "x-amzn-apigateway-api-id": "mine",
    };
    const call = await (await connected(desk, {}, { headers: spoofed })).called("connect");
    expect(JSON.stringify(call.rawHeaders)).not.toContain('"mine"');
    expect(headerOf(call, "x-sallyport-route-key")).toBe("$connect");
    expect(headerOf(call, "x-amzn-apigateway-api-id")).toBe(desk.apiId);
  });

  onDesk("1.3 without a mapping no header says who is there", async () => {
    const backend = await openBackend();
    const integration = { type: "HTTP_PROXY", uri: `${backend.origin}/ws/connect` } as const;
    const desk = await openDesk({ apis: [{ routes: { $connect: { integration } }, stages: { dev: {} } }] });
    const call = await (await connected({ url: desk.url, backend: backend.origin })).called("connect");
    const names = call.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    expect(names.filter((name) => name.includes("connectionid") || name.startsWith("x-sallyport"))).toEqual(
      [],
    );
  });
});

describe("1.4 parameter mapping", () => {
  onDesk(
    "1.4 context, stage variables, literals, the message, and on $connect the client's own",
    async () => {
      const backend = await openBackend();
      const at = (kind: string, requestParameters: Record<string, string>) => {
        const named = { "integration.request.header.connectionId": "context.connectionId" };
        const uri = `${backend.origin}/\${stageVariables.base}/${kind}`;
        return {
          integration: {
            type: "HTTP_PROXY" as const,
            uri,
            requestParameters: { ...named, ...requestParameters },
          },
          routeResponse: true,
        };
      };
      const desk = await openDesk({
        apis: [
          {
            routes: {
              $connect: at("connect", {
                "integration.request.header.x-stage": "context.stage",
                "integration.request.header.x-text": "'a, b'",
                "integration.request.header.x-agent": "route.request.header.User-Agent",
                "integration.request.header.x-many": "route.request.multivaluequerystring.tag",
                "integration.request.querystring.page": "route.request.querystring.p",
                "integration.request.header.x-none": "context.disconnectReason",
              }),
              $default: at("default", {
                "integration.request.header.x-deep": "route.request.body.a.b[1]",
                "integration.request.header.x-client": "route.request.header.User-Agent",
                "integration.request.querystring.color": "stageVariables.color",
                "integration.request.header.x-message-id": "context.messageId",
              }),
            },
            stages: { dev: { variables: { base: "ws", color: "red" } } },
          },
        ],
      });
      const arrived = await connected(
        { url: `${desk.url}?tag=1&tag=2&p=7`, backend: backend.origin },
        {},
        { headers: { "user-agent": "browser/1", "x-none": "mine" } },
      );
      const connect = await arrived.called("connect");
      expect(headerOf(connect, "x-stage")).toBe("dev");
      expect(headerOf(connect, "x-text")).toBe("a, b");
      expect(headerOf(connect, "x-agent")).toBe("browser/1");
      expect(headerOf(connect, "x-many")).toBe("1,2");
      expect(new URL(connect.url, "http://x").searchParams.getAll("page")).toEqual(["7"]);
      expect(headerOf(connect, "x-none")).toBeUndefined();
      say(arrived, { body: "ok" }, { a: { b: [0, "deep"] } });
      await arrived.client.text();
      const message = await arrived.called("default");
      expect(headerOf(message, "x-deep")).toBe("deep");
      expect(headerOf(message, "x-client")).toBeUndefined();
      expect(message.url).toBe("/ws/default?color=red");
      expect(headerOf(message, "x-message-id")).toMatch(/^[A-Za-z0-9_-]{15}=$/);
    },
  );

  onDesk("1.4 what AWS would refuse is refused when it is deployed", async () => {
    const desk = await openDesk();
    const deploy = (key: string, value: string) => () =>
      desk.local.deploy({
        routes: {
          $default: {
            integration: { type: "HTTP_PROXY", uri: desk.backend, requestParameters: { [key]: value } },
          },
        },
      });
    const header = "integration.request.header.x";
    for (const [key, value] of [
      [header, "context.nothing"],
      [header, "connectionId"],
      [header, `'${"x".repeat(511)}'`],
      ["integration.request.body.x", "context.stage"],
      ["header.x", "context.stage"],
      ["integration.request.header.content-length", "'1'"],
      ["integration.request.header.X-Amzn-Trace-Id", "'1'"],
    ] as const)
      expect(deploy(key, value), `${key}: ${value}`).toThrow(/cannot be mapped/);
  });
});

describe("1.5 identifiers", () => {
  test("1.5 ids are 16 characters of base64url that end with =, and each is another", async () => {
    const desk = await openDesk();
    const [one, other] = [await connected(desk), await connected(desk)];
    expect(await idOf(one)).not.toBe(await idOf(other));
    const request = headerOf(await one.called("connect"), "x-sallyport-request-id");
    expect(request).toMatch(/^[A-Za-z0-9_-]{15}=$/);
    expect(request).not.toBe(await idOf(one));
  });

  test("1.5 connectedAt is one instant in milliseconds for all of a connection's life", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { body: "ok" });
    await arrived.client.text();
    const at = headerOf(await arrived.called("connect"), "x-sallyport-connected-at");
    expect(Math.abs(Number(at) - Date.now())).toBeLessThan(60_000);
    expect(headerOf(await arrived.called("default"), "x-sallyport-connected-at")).toBe(at);
  });
});

test("1.7 $disconnect comes whoever closed", async () => {
  const desk = await openDesk();
  const arrived = await connected(desk);
  arrived.client.socket.close();
  expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe("1005");
});
