import { describe, expect, test } from "vitest";
import { arriving, connected, handshake, headerOf, http, onDesk, openDesk } from "./desk.ts";

describe("1.1 address and upgrade", () => {
  test("1.1 a plain GET of the socket's URL is answered 426", async () => {
    const desk = await openDesk();
    expect((await http(desk.endpoint, "GET", `/${desk.stage}`)).status).toBe(426);
  });

  test("1.1 nothing is open before $connect has been answered", async () => {
    const desk = await openDesk();
    const arrived = arriving(desk, { delayMs: 300 });
    let isOpen = false;
    arrived.client.socket.once("open", () => {
      isOpen = true;
    });
    await arrived.called("connect");
    expect(isOpen).toBe(false);
    await arrived.client.opened;
  });

  onDesk(
    "1.1 without a $connect route everybody is let in, and without $disconnect nobody hears of who leaves",
    async () => {
      const desk = await openDesk();
      const uri = `${desk.backend}/ws/default`;
      desk.local.deploy({
        routes: { $default: { integration: { type: "HTTP_PROXY", uri }, routeResponse: true } },
      });
      const { client } = await connected(desk);
      client.socket.send('{"answer":{"body":"here"}}');
      expect(await client.text()).toBe("here");
      client.socket.close();
      await client.closed;
    },
  );

  test("1.1 there is no path below the stage, and no stage but those that are there", async () => {
    const desk = await openDesk();
    for (const path of ["/nowhere", `/${desk.stage}/below`, "/"]) {
      expect(await handshake({ ...desk, url: new URL(path, desk.url).href }), path).toBe(403);
    }
  });
});

describe("1.2 what a client sees in place of 101", () => {
  test.each([200, 201, 204])("1.2 a $connect that answers %d opens the socket", async (status) => {
    expect(await handshake(await openDesk(), { status })).toBe(101);
  });

  test.each([301, 400, 401, 403, 404, 429, 500, 501, 503])(
    "1.2 a $connect that answers %d refuses with the same",
    async (status) => {
      expect(await handshake(await openDesk(), { status })).toBe(status);
    },
  );

  test("1.2 neither body nor headers of a refused $connect reach the client", async () => {
    const desk = await openDesk();
    const { client } = arriving(desk, { status: 403, body: "a secret", headers: { "x-own": "a secret" } });
    const answer = await new Promise<string>((resolve) => {
      client.socket.on("unexpected-response", async (_request, response) => {
        let text = JSON.stringify(response.headers);
        for await (const chunk of response) text += chunk;
        resolve(text);
      });
    });
    expect(answer).not.toContain("a secret");
  });

  test("1.2 no $disconnect follows a refused $connect", async () => {
    const desk = await openDesk();
    const refused = arriving(desk, { status: 403 });
    await refused.client.opened.catch(() => undefined);
    const another = await connected(desk);
    another.client.socket.close();
    await another.called("disconnect");
    expect((await refused.calls()).map(({ kind }) => kind)).toEqual(["connect"]);
  });

  onDesk(
    "1.2, §9.4 a backend that is not there is 500, and one that does not answer in time 504",
    async () => {
      const backend = { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/ws/connect" } as const;
      const gone = await openDesk({
        apis: [{ routes: { $connect: { integration: backend } }, stages: { dev: {} } }],
      });
      expect(await handshake(gone)).toBe(500);
      const slow = await openDesk({ integrationTimeoutMs: 50 });
      expect(await handshake(slow, { delayMs: 500 })).toBe(504);
    },
  );

  onDesk("1.2, §4 a stage whose throttling is 0 refuses every connect with 429", async () => {
    const { backend } = await openDesk();
    const uri = `${backend}/ws/connect`;
    const throttling = { ratePerSecond: 0, burst: 0 };
    const routes = { $connect: { integration: { type: "HTTP_PROXY", uri } as const } };
    const desk = await openDesk({ apis: [{ routes, stages: { dev: { throttling } } }] });
    expect(await handshake({ ...desk, backend })).toBe(429);
  });
});

test("§9.12 no extension is agreed upon, though the client offers compression", async () => {
  const { client } = await connected(await openDesk());
  expect(client.socket.extensions).toBe("");
});

onDesk("§9.3 a refusal has a JSON body, the kind of the error, and ends the connection", async () => {
  const { client } = arriving(await openDesk(), { status: 403 });
  const [status, headers] = await new Promise<[number | undefined, Record<string, unknown>]>((resolve) => {
    client.socket.on("unexpected-response", (_request, response) => {
      response.resume();
      resolve([response.statusCode, response.headers]);
    });
  });
  expect([status, headers["x-amzn-errortype"], headers.connection]).toEqual([
    403,
    "ForbiddenException",
    "close",
  ]);
});

describe("3.3 subprotocols", () => {
  test("3.3 the integration sees what the client offers", async () => {
    const desk = await openDesk();
    const arrived = arriving(desk, {}, { protocols: ["chat.v2", "chat.v1"] });
    await arrived.client.opened.catch(() => undefined);
    expect(headerOf(await arrived.called("connect"), "sec-websocket-protocol")?.replaceAll(" ", "")).toBe(
      "chat.v2,chat.v1",
    );
  });

  test("3.3 the one that the integration returns is accepted", async () => {
    const desk = await openDesk();
    const answer = { headers: { "sec-websocket-protocol": "chat.v1" } };
    const { client } = await connected(desk, answer, { protocols: ["chat.v2", "chat.v1"] });
    expect(client.socket.protocol).toBe("chat.v1");
  });

  test("3.3 none is accepted where the integration returns none, so that a client which offered one gives up", async () => {
    const { client } = arriving(await openDesk(), {}, { protocols: ["chat.v1"] });
    await expect(client.opened).rejects.toThrow(/subprotocol/);
  });
});
