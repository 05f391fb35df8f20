// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is AWS's own syntax
import { describe, expect, test } from "vitest";
import { ManualClock } from "../../../src/local/emulator.ts";
import type { Recorded } from "./backend.ts";
import {
  at,
  type Connected,
  callsOf,
  connect,
  connected,
  type Desk,
  echo,
  expectErrorFrame,
  headerNames,
  headerOf,
  ID,
  idOf,
  manage,
  onDesk,
  openBackend,
  openDesk,
  queryOf,
  route,
  say,
} from "./desk.ts";

/** A client's whole life: the call of its $connect, of a message, and of its $disconnect. */
async function lifeOf(arrived: Connected): Promise<readonly [Recorded, Recorded, Recorded]> {
  await echo(arrived, "ok");
  arrived.client.socket.close();
  return Promise.all([arrived.called("connect"), arrived.called("default"), arrived.called("disconnect")]);
}

const TRACE = /^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/;

describe("1.3 what reaches an HTTP backend", () => {
  test("1.3 the method is the integration's, not the client's GET", async () => {
    const calls = await lifeOf(await connected(await openDesk()));
    expect(calls.map(({ method }) => method)).toEqual(["POST", "POST", "POST"]);
  });

  test("1.3 a $connect has no body, and says so by a content-length of 0", async () => {
    const call = await (await connected(await openDesk())).called("connect");
    expect([call.body, headerOf(call, "content-length")]).toEqual(["", "0"]);
  });

  test("1.3 a message is the body as it was sent", async () => {
    const arrived = await connected(await openDesk());
    const text = ' { "a" : 1.0,\n "ü": "\u{1f600}", "a" : 1e400 } ';
    arrived.client.socket.send(text);
    expect((await arrived.called("default")).body).toBe(text);
  });

  test("1.3 a $disconnect has no body", async () => {
    const [, , gone] = await lifeOf(await connected(await openDesk()));
    expect(gone.body).toBe("");
  });

  test("1.3 the client's query passes on $connect", async () => {
    const { url, backend } = await openDesk();
    const arrived = await connected({ url: `${url}?channel=a%2Fb&tag=1&tag=2&empty=`, backend });
    const query = queryOf(await arrived.called("connect"));
    expect([query.get("channel"), query.getAll("tag"), query.get("empty")]).toEqual(["a/b", ["1", "2"], ""]);
  });

  test("1.3 the client's query does not pass later", async () => {
    const [, message, gone] = await lifeOf(await connected(await openDesk(), { channel: "x" }));
    expect([...queryOf(message), ...queryOf(gone)]).toEqual([]);
  });

  const own = {
    cookie: "a=1",
    origin: "https://www.example.com",
    authorization: "Bearer x",
    "x-own": "mine",
    "content-type": "text/plain",
  };

  test("1.3 the client's own headers pass on $connect", async () => {
    const call = await (await connected(await openDesk(), {}, { headers: own })).called("connect");
    for (const [name, value] of Object.entries(own)) expect(headerOf(call, name), name).toBe(value);
  });

  test("1.3 what the client accepts passes on $connect", async () => {
    const headers = { accept: "text/event-stream", "accept-encoding": "gzip" };
    const call = await (await connected(await openDesk(), {}, { headers })).called("connect");
    for (const [name, value] of Object.entries(headers)) expect(headerOf(call, name), name).toBe(value);
  });

  test("1.3 a client that has no content type gives $connect none", async () => {
    const call = await (await connected(await openDesk())).called("connect");
    expect(headerOf(call, "content-type")).toBeUndefined();
  });

  test("1.3 the client's own headers do not pass later", async () => {
    const [, message, gone] = await lifeOf(await connected(await openDesk(), {}, { headers: own }));
    for (const name of ["cookie", "origin", "authorization", "x-own"]) {
      expect(headerOf(message, name), name).toBeUndefined();
      expect(headerOf(gone, name), name).toBeUndefined();
    }
  });

  test("1.3 Sec-WebSocket-Key, -Version, -Extensions and -Protocol pass on $connect", async () => {
    const arrived = await connected(await openDesk(), { protocol: "chat" }, { protocols: ["chat"] });
    const call = await arrived.called("connect");
    expect(headerOf(call, "sec-websocket-key")).toMatch(/^[+/0-9A-Za-z]{22}==$/);
    expect(headerOf(call, "sec-websocket-version")).toBe("13");
    expect(headerOf(call, "sec-websocket-extensions")).toContain("permessage-deflate");
    expect(headerOf(call, "sec-websocket-protocol")).toBe("chat");
  });

  test("1.3 no Sec-WebSocket header passes later", async () => {
    const [, message, gone] = await lifeOf(await connected(await openDesk()));
    const names = [...headerNames(message), ...headerNames(gone)];
    expect(names.filter((name) => name.startsWith("sec-websocket"))).toEqual([]);
  });

  test("1.3 no Upgrade, and no Connection that asks for one, reaches the integration", async () => {
    const call = await (await connected(await openDesk())).called("connect");
    expect(headerOf(call, "upgrade")).toBeUndefined();
    expect(headerOf(call, "connection") ?? "").not.toMatch(/upgrade/i);
  });

  test("1.3 the User-Agent of $connect is the client's", async () => {
    const arrived = await connected(await openDesk(), {}, { headers: { "user-agent": "browser/1" } });
    expect(headerOf(await arrived.called("connect"), "user-agent")).toBe("browser/1");
  });

  test("1.3 a client that has no User-Agent gets the gateway's", async () => {
    const desk = await openDesk();
    const call = await (await connected(desk)).called("connect");
    expect(headerOf(call, "user-agent")).toBe(`AmazonAPIGateway_${desk.apiId}`);
  });

  test("1.3 the User-Agent of messages and $disconnect is the gateway's", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk, {}, { headers: { "user-agent": "browser/1" } });
    const [, message, gone] = await lifeOf(arrived);
    expect(headerOf(message, "user-agent")).toBe(`AmazonAPIGateway_${desk.apiId}`);
    expect(headerOf(gone, "user-agent")).toBe(`AmazonAPIGateway_${desk.apiId}`);
  });

  test("1.3 every call names the API", async () => {
    const desk = await openDesk();
    const calls = await lifeOf(await connected(desk));
    const named = calls.map((call) => headerOf(call, "x-amzn-apigateway-api-id"));
    expect(named).toEqual([desk.apiId, desk.apiId, desk.apiId]);
  });

  test("1.3 every call has a trace of its own", async () => {
    const calls = await lifeOf(await connected(await openDesk()));
    const traces = calls.map((call) => headerOf(call, "x-amzn-trace-id"));
    for (const trace of traces) expect(trace).toMatch(TRACE);
    expect(new Set(traces).size).toBe(3);
  });

  test("1.3 X-Forwarded-For, -Port and -Proto say on $connect who came, and how", async () => {
    const desk = await openDesk();
    const call = await (await connected(desk)).called("connect");
    const { protocol, port } = new URL(desk.url);
    expect(headerOf(call, "x-forwarded-for")).toBe(headerOf(call, "x-sallyport-source-ip"));
    expect(headerOf(call, "x-forwarded-port")).toBe(port || "443");
    expect(headerOf(call, "x-forwarded-proto")).toBe(protocol === "wss:" ? "https" : "http");
  });

  test("7 the client's address is put behind whatever X-Forwarded-For it claims", async () => {
    const arrived = await connected(await openDesk(), {}, { headers: { "x-forwarded-for": "203.0.113.7" } });
    const call = await arrived.called("connect");
    const address = headerOf(call, "x-sallyport-source-ip");
    expect(headerOf(call, "x-forwarded-for")?.split(/, ?/)).toEqual(["203.0.113.7", address]);
  });

  test("1.3 Host is the backend's", async () => {
    const desk = await openDesk();
    const calls = await lifeOf(await connected(desk));
    const { host } = new URL(desk.backend);
    expect(calls.map((call) => headerOf(call, "host"))).toEqual([host, host, host]);
  });

  test("1.3 headers that belong to one hop are never forwarded", async () => {
    const headers = {
      te: "trailers",
      via: "1.1 proxy",
      "max-forwards": "1",
      "content-md5": "x",
      "content-encoding": "identity",
      "proxy-authenticate": "x",
      "www-authenticate": "x",
      server: "x",
    };
    const call = await (await connected(await openDesk(), {}, { headers })).called("connect");
    const hop = new Set(Object.keys(headers));
    expect(headerNames(call).filter((name) => hop.has(name))).toEqual([]);
  });

  test("1.3 a header that the client repeats is joined with a comma", async () => {
    const arrived = await connected(await openDesk(), {}, { headers: { "x-own": ["1", "2"] } });
    expect(headerOf(await arrived.called("connect"), "x-own")).toBe("1,2");
  });

  test("1.3 mapped headers come with every call", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    const calls = await lifeOf(arrived);
    const id = await idOf(arrived);
    expect(calls.map((call) => headerOf(call, "connectionId"))).toEqual([id, id, id]);
    expect(calls.map((call) => headerOf(call, "x-sallyport-stage"))).toEqual(calls.map(() => desk.stage));
  });

  onDesk("1.3 no header says who is there unless it is mapped", "an API without mappings", async () => {
    const backend = await openBackend();
    const routes = {
      $connect: { integration: { type: "HTTP_PROXY", uri: `${backend}/ws/connect` } },
    } as const;
    const desk = await openDesk({ apis: [{ id: "plain00000", routes, stages: { dev: {} } }] }, backend);
    const call = await (await connected(desk)).called("connect");
    const mapped = headerNames(call).filter((name) => /^(connectionid|x-sallyport-.*)$/.test(name));
    expect(mapped).toEqual([]);
    const [id = ""] = desk.local.connectionIds;
    expect(id).toMatch(ID);
    expect(JSON.stringify(call)).not.toContain(id);
  });
});

describe("§9 what reaches an HTTP backend, where AWS is not known", () => {
  test("§9.6 a message is called JSON", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.send("not JSON");
    expect(headerOf(await arrived.called("default"), "content-type")).toBe("application/json");
  });

  test("§9.6 on messages and $disconnect nothing is said of who was forwarded", async () => {
    const [, message, gone] = await lifeOf(await connected(await openDesk()));
    const names = [...headerNames(message), ...headerNames(gone)];
    expect(names.filter((name) => name.startsWith("x-forwarded"))).toEqual([]);
  });

  test("§9.7 a mapped name arrives in the case in which it was mapped", async () => {
    const calls = await lifeOf(await connected(await openDesk()));
    for (const { rawHeaders } of calls) expect(rawHeaders).toContain("connectionId");
  });

  test.each(["connectionId", "CONNECTIONID", "x-sallyport-route-key", "X-Sallyport-Source-Ip"])(
    "§9.8 a client's own %s is overwritten by what is mapped",
    async (name) => {
      const arrived = await connected(await openDesk(), {}, { headers: { [name]: "forged" } });
      const call = await arrived.called("connect");
      expect(headerNames(call).filter((header) => header === name.toLowerCase())).toHaveLength(1);
      expect(headerOf(call, name)).toBeDefined();
      expect(JSON.stringify(call.rawHeaders)).not.toContain("forged");
    },
  );

  test.each(["X-Amzn-Apigateway-Api-Id", "X-Amzn-Trace-Id"])(
    "§9.8 a client's own %s is overwritten by the gateway's",
    async (name) => {
      const arrived = await connected(await openDesk(), {}, { headers: { [name]: "forged" } });
      const call = await arrived.called("connect");
      expect(headerOf(call, name)).toBeDefined();
      expect(JSON.stringify(call.rawHeaders)).not.toContain("forged");
    },
  );

  onDesk("§9.8 by a switch a client's own are joined with the gateway's", "a hostile switch", async () => {
    const desk = await openDesk({});
    desk.local.setFaults({ joinHeaders: true });
    const headers = {
      connectionid: "forged",
      "x-amzn-apigateway-api-id": "forged",
      "x-amzn-trace-id": "forged",
    };
    const arrived = connect(desk, { case: "joined" }, { headers });
    await arrived.client.opened;
    const [call] = await callsOf(desk.backend, "joined");
    const [id] = desk.local.connectionIds;
    expect(headerOf(call as Recorded, "connectionId")).toBe(`forged, ${id}`);
    expect(headerOf(call as Recorded, "x-amzn-apigateway-api-id")).toBe(`forged, ${desk.apiId}`);
    expect(headerOf(call as Recorded, "x-amzn-trace-id")).toMatch(/^forged, Root=/);
    expect(headerOf(call as Recorded, "x-sallyport-route-key")).toBe("$connect");
  });

  test("§9.9 a mapped variable without a value is no header", async () => {
    const [hello, message] = await lifeOf(await connected(await openDesk()));
    for (const name of ["x-sallyport-disconnect-code", "x-sallyport-disconnect-reason"])
      expect([headerOf(hello, name), headerOf(message, name)], name).toEqual([undefined, undefined]);
  });

  test("§9.9 nor is it the client's of the same name", async () => {
    const headers = { "x-sallyport-disconnect-code": "1000" };
    const arrived = await connected(await openDesk(), {}, { headers });
    expect(headerOf(await arrived.called("connect"), "x-sallyport-disconnect-code")).toBeUndefined();
  });
});

/** An API whose routes have the parameters that are given: what is the client's own, $connect alone. */
async function mapping(
  parameters: Record<string, string>,
  { variables = {} }: { variables?: Record<string, string> } = {},
): Promise<Desk> {
  const backend = await openBackend();
  const isOfClient = (value: string) => /^route\.request\.(?!body)/.test(value);
  const ofClient = Object.values(parameters).filter(isOfClient);
  const requestParameters = Object.fromEntries(
    ofClient.map((value) => [value, { required: false as const }]),
  );
  const later = Object.fromEntries(Object.entries(parameters).filter(([, value]) => !isOfClient(value)));
  const routes = {
    $connect: route(backend, "connect", { parameters, requestParameters }),
    $disconnect: route(backend, "disconnect", { parameters: later }),
    $default: route(backend, "default", { parameters: later, routeResponse: true }),
  };
  return openDesk({ apis: [{ routes, stages: { dev: { variables } } }] }, backend);
}

const MAPPING = "an API with mappings of its own";
const HEADER = "integration.request.header.x-it";

describe("1.4 parameter mapping", () => {
  onDesk("1.4 a header is mapped to a context variable", MAPPING, async () => {
    const calls = await lifeOf(await connected(await mapping({ [HEADER]: "context.routeKey" })));
    expect(calls.map((call) => headerOf(call, "x-it"))).toEqual(["$connect", "$default", "$disconnect"]);
  });

  onDesk("1.4 a header is mapped to a stage variable", MAPPING, async () => {
    const desk = await mapping({ [HEADER]: "stageVariables.color" }, { variables: { color: "red" } });
    expect(headerOf(await (await connected(desk)).called("connect"), "x-it")).toBe("red");
  });

  onDesk("1.4 a header is mapped to a literal in single quotes", MAPPING, async () => {
    const desk = await mapping({ [HEADER]: "'context.stage, \"as it is\"'" });
    expect(headerOf(await (await connected(desk)).called("connect"), "x-it")).toBe(
      'context.stage, "as it is"',
    );
  });

  onDesk("1.4 a header is mapped to a part of the message", MAPPING, async () => {
    const arrived = await connected(await mapping({ [HEADER]: "route.request.body.a.b[1]" }));
    await echo(arrived, "ok", { a: { b: [0, "deep"] } });
    expect(headerOf(await arrived.called("default"), "x-it")).toBe("deep");
  });

  onDesk("1.4 a part that a message does not have, or that is no JSON, is no header", MAPPING, async () => {
    const arrived = await connected(await mapping({ [HEADER]: "route.request.body.a" }));
    for (const text of ['{"b":1}', "no JSON", '{"a":null}']) arrived.client.socket.send(text);
    for (const count of [1, 2, 3])
      expect(headerOf(await arrived.called("default", count), "x-it")).toBeUndefined();
  });

  for (const [source, value] of [
    ["route.request.header.x-own", "2"],
    ["route.request.multivalueheader.x-own", "1,2"],
    ["route.request.querystring.tag", "b"],
    ["route.request.multivaluequerystring.tag", "a,b"],
  ] as const) {
    onDesk(`1.4 a header is mapped on $connect to ${source}`, MAPPING, async () => {
      const { url, backend } = await mapping({ [HEADER]: source });
      const place = { url: `${url}?tag=a&tag=b`, backend };
      const arrived = await connected(place, {}, { headers: { "x-own": ["1", "2"] } });
      expect(headerOf(await arrived.called("connect"), "x-it")).toBe(value);
    });

    for (const key of ["$default", "$disconnect", "custom"]) {
      onDesk(`1.4 ${source} cannot be mapped on ${key}`, MAPPING, async () => {
        const { local, backend } = await openDesk({});
        const routes = { [key]: route(backend, "default", { parameters: { [HEADER]: source } }) };
        expect(() => local.deploy({ routes })).toThrow(`"${source}" is a part of the client's request`);
      });
    }
  }

  for (const source of ["route.request.header.x-own", "route.request.multivaluequerystring.tag"]) {
    onDesk(`1.4 ${source} cannot be mapped unless its route declares it`, MAPPING, async () => {
      const { local, backend } = await openDesk({});
      const deploying = (declared: string) => () => {
        const requestParameters = { [declared]: { required: false as const } };
        const $connect = route(backend, "connect", { parameters: { [HEADER]: source }, requestParameters });
        local.deploy({ routes: { $connect } });
      };
      expect(deploying("route.request.header.x-other")).toThrow(`"${source}" is mapped but not declared.`);
      expect(deploying(source)).not.toThrow();
      expect(deploying(source.replace("multivalue", ""))).not.toThrow();
    });
  }

  for (const [declared, required] of [
    ["route.request.body.x", false],
    ["integration.request.header.x", false],
    ["route.request.header.x", true],
  ] as const) {
    onDesk(`1.4 ${declared} declares nothing with required: ${required}`, MAPPING, async () => {
      const { local, backend } = await openDesk({});
      const requestParameters = { [declared]: { required } } as never;
      const routes = { $connect: route(backend, "connect", { requestParameters }) };
      expect(() => local.deploy({ routes })).toThrow(`"${declared}" is not a valid declaration.`);
    });
  }

  onDesk("1.4 no other route than $connect declares anything", MAPPING, async () => {
    const { local, backend } = await openDesk({});
    const requestParameters = { "route.request.header.x": { required: false } } as const;
    const routes = { $default: route(backend, "default", { requestParameters }) };
    expect(() => local.deploy({ routes })).toThrow(/requestParameters are allowed on \$connect only/);
  });

  onDesk("1.4 a query parameter is mapped, and escaped", MAPPING, async () => {
    const desk = await mapping({ "integration.request.querystring.it": "'a&b=ü'" });
    const arrived = await connected(desk);
    await echo(arrived, "ok");
    expect((await arrived.called("default")).url).toBe("/ws/default?it=a%26b%3D%C3%BC");
  });

  onDesk("1.3 a mapped query parameter is put behind the client's of that name", MAPPING, async () => {
    const desk = await mapping({ "integration.request.querystring.it": "'ours'" });
    const arrived = await connected(desk, { it: "theirs" });
    expect(queryOf(await arrived.called("connect")).getAll("it")).toEqual(["theirs", "ours"]);
  });

  /** A desk whose messages go to a path, of which parts are what the message says. */
  async function pathOf(path: string): Promise<Desk> {
    const backend = await openBackend();
    const parameters = {
      "integration.request.path.where": "route.request.body.where",
      "integration.request.path.more": "route.request.body.more",
    };
    const routes = {
      $connect: route(backend, "connect"),
      $default: route(backend, path, { parameters, routeResponse: true }),
    };
    return openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
  }

  for (const [where, part] of [
    ["../a b", "..%2Fa%20b"],
    ["%2e%2e", "%252e%252e"],
    ["...", "..."],
    ["a?b#c", "a%3Fb%23c"],
    ["$&{more}", "%24%26%7Bmore%7D"],
    ["\ud800", "%EF%BF%BD"],
  ] as const) {
    onDesk(
      `1.4 a part of the path is mapped to ${JSON.stringify(where)}, and cannot leave its place`,
      MAPPING,
      async () => {
        const arrived = await connected(await pathOf("{where}/default"));
        await echo(arrived, "ok", { where, more: "." });
        expect((await arrived.called("default")).url).toBe(`/ws/${part}/default`);
      },
    );
  }

  for (const [path, said] of [
    ["rooms/{where}/default", { where: "." }],
    ["rooms/{where}/default", { where: ".." }],
    ["rooms/{where}/default", { where: "" }],
    ["rooms/{where}/default", {}],
    ["rooms/{where}{more}/default", { where: ".", more: "." }],
    ["rooms/.{where}/default", { where: "." }],
    ["rooms/{where}%2E/default", { where: "." }],
  ] as const) {
    onDesk(
      `1.4 a part of the path ${path} with ${JSON.stringify(said)} would leave its place, so nobody is called`,
      MAPPING,
      async () => {
        const arrived = await connected(await pathOf(path));
        say(arrived, { body: "unheard" }, said);
        expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
        expect(await arrived.kinds()).toEqual(["connect"]);
      },
    );
  }

  onDesk("1.4 half a character in a mapped query parameter is a replacement character", MAPPING, async () => {
    const desk = await mapping({ "integration.request.querystring.it": "route.request.body.it" });
    const arrived = await connected(desk);
    await echo(arrived, "ok", { it: "\ud800" });
    expect((await arrived.called("default")).url).toBe("/ws/default?it=%EF%BF%BD");
  });

  const long = (characters: number) => `'${"x".repeat(characters - 2)}'`;

  onDesk("1.4 a value has up to 512 characters", MAPPING, async () => {
    const arrived = await connected(await mapping({ [HEADER]: long(512) }));
    expect(headerOf(await arrived.called("connect"), "x-it")).toHaveLength(510);
    await expect(mapping({ [HEADER]: long(513) })).rejects.toThrow(/cannot be mapped/);
  });

  for (const [key, value] of [
    ["integration.request.body.x", "context.stage"],
    ["integration.request.header.", "context.stage"],
    ["integration.request.header.a b", "context.stage"],
    ["method.request.header.x", "context.stage"],
    [HEADER, ""],
    [HEADER, "context.nothing"],
    [HEADER, "connectionId"],
    [HEADER, "'one' or 'two'"],
    [HEADER, "method.request.header.x"],
    [HEADER, "route.request.cookie.x"],
    [HEADER, "stageVariables.a-b"],
  ] as const) {
    onDesk(`1.4 ${key} cannot be mapped to ${JSON.stringify(value)}`, MAPPING, async () => {
      await expect(mapping({ [key]: value })).rejects.toThrow(/cannot be mapped/);
    });
  }

  for (const name of ["content-length", "Transfer-Encoding", "x-amzn-trace-id", "X-Amzn-Apigateway-Api-Id"]) {
    onDesk(`1.3 the header ${name} cannot be mapped`, MAPPING, async () => {
      await expect(mapping({ [`integration.request.header.${name}`]: "'1'" })).rejects.toThrow(
        /cannot be mapped/,
      );
    });
  }
});

/** What each of some variables is on a call, as headers say it. */
function variables(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.map((name) => [`integration.request.header.x-${name.replaceAll(".", "-")}`, `context.${name}`]),
  );
}

describe("1.5 context variables and identifiers", () => {
  onDesk("1.5 every call has these variables", MAPPING, async () => {
    const names = [
      "apiId",
      "connectedAt",
      "connectionId",
      "domainName",
      "eventType",
      "extendedRequestId",
      "identity.sourceIp",
      "identity.userAgent",
      "messageDirection",
      "requestId",
      "requestTime",
      "requestTimeEpoch",
      "routeKey",
      "stage",
    ];
    const arrived = await connected(
      await mapping(variables(names)),
      {},
      { headers: { "user-agent": "node" } },
    );
    for (const call of await lifeOf(arrived)) {
      const absent = names.filter((name) => !headerOf(call, `x-${name.replaceAll(".", "-")}`));
      expect(absent, call.kind).toEqual([]);
      expect(headerOf(call, "x-messageDirection")).toBe("IN");
      expect(headerOf(call, "x-identity-userAgent")).toBe("node");
    }
  });

  onDesk("1.5 each kind of call has variables of its own", MAPPING, async () => {
    const names = ["messageId", "disconnectStatusCode", "disconnectReason"];
    const calls = await lifeOf(await connected(await mapping(variables(names))));
    expect(calls.map((call) => names.map((name) => headerOf(call, `x-${name}`)))).toEqual([
      [undefined, undefined, undefined],
      [expect.stringMatching(ID), undefined, undefined],
      [undefined, "1005", "Client-side close frame status not set"],
    ]);
  });

  onDesk(
    "1.5 what takes IAM or an API key may be mapped, and has no value without them",
    MAPPING,
    async () => {
      const names = [
        "identity.apiKey",
        "identity.caller",
        "identity.user",
        "identity.userArn",
        "identity.accountId",
      ];
      const call = await (await connected(await mapping(variables(names)))).called("connect");
      expect(headerNames(call).filter((name) => name.startsWith("x-identity"))).toEqual([]);
    },
  );

  onDesk("1.5 what takes Cognito or a failure may be mapped, and has no value here", MAPPING, async () => {
    const names = ["identity.cognitoIdentityId", "error.message", "error.messageString", "status"];
    const calls = await lifeOf(await connected(await mapping(variables(names))));
    for (const call of calls)
      for (const name of names) expect(headerOf(call, `x-${name.replaceAll(".", "-")}`)).toBeUndefined();
  });

  test("1.5 a connection's id is 16 characters of base64url that end with =, and each is another", async () => {
    const desk = await openDesk();
    const [one, other] = [await idOf(await connected(desk)), await idOf(await connected(desk))];
    expect([one, other]).toEqual([expect.stringMatching(ID), expect.stringMatching(ID)]);
    expect(one).not.toBe(other);
  });

  test("1.5 a request's id looks like a connection's, and each call has another", async () => {
    const arrived = await connected(await openDesk());
    const ids = (await lifeOf(arrived)).map((call) => headerOf(call, "x-sallyport-request-id"));
    for (const id of ids) expect(id).toMatch(ID);
    expect(new Set([...ids, await idOf(arrived)]).size).toBe(4);
  });

  onDesk("1.5 requestId and extendedRequestId are one, and messageId is another", MAPPING, async () => {
    const desk = await mapping(variables(["requestId", "extendedRequestId", "messageId"]));
    const [, message] = await lifeOf(await connected(desk));
    expect(headerOf(message, "x-extendedRequestId")).toBe(headerOf(message, "x-requestId"));
    expect(headerOf(message, "x-messageId")).not.toBe(headerOf(message, "x-requestId"));
  });

  test("1.5 connectedAt is one instant in milliseconds for all of a connection's life", async () => {
    const calls = await lifeOf(await connected(await openDesk()));
    const [at, ...later] = calls.map((call) => headerOf(call, "x-sallyport-connected-at"));
    expect(at).toMatch(/^\d{13}$/);
    expect(later).toEqual([at, at]);
  });

  onDesk(
    "1.5 requestTimeEpoch is when a call was made, at most 2 ms after connectedAt on $connect",
    "a clock",
    async () => {
      const backend = await openBackend();
      const parameters = variables(["connectedAt", "requestTimeEpoch", "requestTime"]);
      const clock = new ManualClock(Date.UTC(2026, 1, 9, 18, 11, 43));
      const routes = {
        $connect: route(backend, "connect", { parameters }),
        $default: route(backend, "default", { parameters }),
      };
      const desk = await openDesk({ clock, apis: [{ routes, stages: { dev: {} } }] }, backend);
      const arrived = await connected(desk);
      clock.advance(65_000);
      say(arrived, {});
      const [hello, message] = [await arrived.called("connect"), await arrived.called("default")];
      const connectedAt = Number(headerOf(hello, "x-connectedAt"));
      expect(connectedAt).toBe(Date.UTC(2026, 1, 9, 18, 11, 43));
      expect(Number(headerOf(hello, "x-requestTimeEpoch")) - connectedAt).toBeLessThanOrEqual(2);
      expect(Number(headerOf(message, "x-requestTimeEpoch"))).toBe(connectedAt + 65_000);
      expect(headerOf(hello, "x-requestTime")).toBe("09/Feb/2026:18:11:43 +0000");
      expect(headerOf(message, "x-requestTime")).toBe("09/Feb/2026:18:12:48 +0000");
    },
  );

  test("1.5 domainName is the host that the client used", async () => {
    const desk = await openDesk();
    const calls = await lifeOf(await connected(desk));
    const { host } = new URL(desk.url);
    expect(calls.map((call) => headerOf(call, "x-sallyport-domain-name"))).toEqual([host, host, host]);
  });

  test("1.5 an API's id is 10 lower-case letters and digits", async () => {
    const call = await (await connected(await openDesk())).called("connect");
    expect(headerOf(call, "x-amzn-apigateway-api-id")).toMatch(/^[a-z0-9]{10}$/);
  });

  test("1.5 sourceIp is the peer's address, which no header forges", async () => {
    const desk = await openDesk();
    const headers = {
      "x-forwarded-for": "203.0.113.7",
      "x-real-ip": "203.0.113.7",
      forwarded: "for=203.0.113.7",
    };
    const [honest, forger] = [await connected(desk), await connected(desk, {}, { headers })];
    const address = headerOf(await honest.called("connect"), "x-sallyport-source-ip");
    expect(address).toMatch(/^[0-9a-f.:]+$/);
    expect(headerOf(await forger.called("connect"), "x-sallyport-source-ip")).toBe(address);
  });

  onDesk("1.5 a client that has no User-Agent has no identity.userAgent", MAPPING, async () => {
    const call = await (await connected(await mapping(variables(["identity.userAgent"])))).called("connect");
    expect(headerOf(call, "x-identity-userAgent")).toBeUndefined();
  });
});

describe("1.7 the end of a connection", () => {
  test("1.7 a client that closes is followed by $disconnect, with its code and reason", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.close(4001, "done");
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("4001");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("done");
  });

  test("1.6 one that closes without a code is told as 1005 Client-side close frame status not set", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.close();
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1005");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("Client-side close frame status not set");
  });

  test("1.6 one that closes with a code alone is told without a reason", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.close(1001);
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1001");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBeUndefined();
  });

  test("1.7 a DELETE is followed by $disconnect", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    expect((await manage(desk, "DELETE", at(await idOf(arrived)))).status).toBe(204);
    expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe("1000");
  });

  test("1.7 $disconnect comes when the connection is closed already", async () => {
    const desk = await openDesk();
    const arrived = await connected(desk);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect((await manage(desk, "GET", at(await idOf(arrived)))).status).toBe(410);
  });

  test("1.7 what $disconnect is answered goes nowhere, and it is not made again", async () => {
    const desk = await openDesk();
    const leaver = await connected(desk, { disconnect_status: 500 });
    leaver.client.socket.close();
    await leaver.answered("disconnect");
    expect(await echo(await connected(desk), "well")).toBe("well");
    expect(await leaver.kinds()).toEqual(["connect", "disconnect"]);
  });

  test("§9.21 $disconnect comes after the messages before it have been started", async () => {
    const arrived = await connected(await openDesk());
    for (let count = 0; count < 8; count++) say(arrived, {});
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(await arrived.kinds()).toEqual(["connect", ...Array(8).fill("default"), "disconnect"]);
  });

  test("1.7 $disconnect does not wait for a message to be answered that takes long", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { hold: true });
    await arrived.called("default");
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect((await arrived.called("default")).isAnswered).toBe(false);
    await arrived.release();
  });
});
