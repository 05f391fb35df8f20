// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the syntax of AWS
import { describe, expect, test } from "vitest";
import { ManualClock } from "../../../src/local/emulator.ts";
import type { Recorded } from "./backend.ts";
import {
  at,
  type Connected,
  callsOf,
  connect,
  connected,
  echo,
  expectErrorFrame,
  type GatewayUnderTest,
  headerNames,
  headerOf,
  ID,
  idOf,
  manage,
  openBackend,
  openGateway,
  queryOf,
  route,
  sendMessage,
  testLocally,
} from "./gateway-under-test.ts";

/** Returns all calls of a client: its $connect, a message, and its $disconnect. */
async function lifeOf(arrived: Connected): Promise<readonly [Recorded, Recorded, Recorded]> {
  await echo(arrived, "ok");
  arrived.client.socket.close();
  return Promise.all([arrived.called("connect"), arrived.called("default"), arrived.called("disconnect")]);
}

const TRACE = /^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/;

describe("1.3 requests to an HTTP backend", () => {
  test("1.3 the method is that of the integration, not the GET of the client", async () => {
    const calls = await lifeOf(await connected(await openGateway()));
    expect(calls.map(({ method }) => method)).toEqual(["POST", "POST", "POST"]);
  });

  test("1.3 a $connect has no body and a content-length of 0", async () => {
    const call = await (await connected(await openGateway())).called("connect");
    expect([call.body, headerOf(call, "content-length")]).toEqual(["", "0"]);
  });

  test("1.3 the body of a message is sent unchanged", async () => {
    const arrived = await connected(await openGateway());
    const text = ' { "a" : 1.0,\n "ü": "\u{1f600}", "a" : 1e400 } ';
    arrived.client.socket.send(text);
    expect((await arrived.called("default")).body).toBe(text);
  });

  test("1.3 a $disconnect has no body", async () => {
    const [, , gone] = await lifeOf(await connected(await openGateway()));
    expect(gone.body).toBe("");
  });

  test("1.3 the query of the client is sent with $connect", async () => {
    const { url, backend } = await openGateway();
    const arrived = await connected({ url: `${url}?channel=a%2Fb&tag=1&tag=2&empty=`, backend });
    const query = queryOf(await arrived.called("connect"));
    expect([query.get("channel"), query.getAll("tag"), query.get("empty")]).toEqual(["a/b", ["1", "2"], ""]);
  });

  test("1.3 the query of the client is not sent later", async () => {
    const [, message, gone] = await lifeOf(await connected(await openGateway(), { channel: "x" }));
    expect([...queryOf(message), ...queryOf(gone)]).toEqual([]);
  });

  const own = {
    cookie: "a=1",
    origin: "https://www.example.com",
    authorization: "Bearer x",
    "x-own": "mine",
    "content-type": "text/plain",
  };

  test("1.3 the headers of the client are sent with $connect", async () => {
    const call = await (await connected(await openGateway(), {}, { headers: own })).called("connect");
    for (const [name, value] of Object.entries(own)) expect(headerOf(call, name), name).toBe(value);
  });

  test("1.3 the Accept headers of the client are sent with $connect", async () => {
    const headers = { accept: "text/event-stream", "accept-encoding": "gzip" };
    const call = await (await connected(await openGateway(), {}, { headers })).called("connect");
    for (const [name, value] of Object.entries(headers)) expect(headerOf(call, name), name).toBe(value);
  });

  test("1.3 $connect has no content type if the client sends none", async () => {
    const call = await (await connected(await openGateway())).called("connect");
    expect(headerOf(call, "content-type")).toBeUndefined();
  });

  test("1.3 the headers of the client are not sent later", async () => {
    const [, message, gone] = await lifeOf(await connected(await openGateway(), {}, { headers: own }));
    for (const name of ["cookie", "origin", "authorization", "x-own"]) {
      expect(headerOf(message, name), name).toBeUndefined();
      expect(headerOf(gone, name), name).toBeUndefined();
    }
  });

  test("1.3 Sec-WebSocket-Key, -Version, -Extensions and -Protocol are sent with $connect", async () => {
    const arrived = await connected(await openGateway(), { protocol: "chat" }, { protocols: ["chat"] });
    const call = await arrived.called("connect");
    expect(headerOf(call, "sec-websocket-key")).toMatch(/^[+/0-9A-Za-z]{22}==$/);
    expect(headerOf(call, "sec-websocket-version")).toBe("13");
    expect(headerOf(call, "sec-websocket-extensions")).toContain("permessage-deflate");
    expect(headerOf(call, "sec-websocket-protocol")).toBe("chat");
  });

  test("1.3 no Sec-WebSocket header is sent later", async () => {
    const [, message, gone] = await lifeOf(await connected(await openGateway()));
    const names = [...headerNames(message), ...headerNames(gone)];
    expect(names.filter((name) => name.startsWith("sec-websocket"))).toEqual([]);
  });

  test("1.3 neither Upgrade nor Connection: upgrade is sent to the integration", async () => {
    const call = await (await connected(await openGateway())).called("connect");
    expect(headerOf(call, "upgrade")).toBeUndefined();
    expect(headerOf(call, "connection") ?? "").not.toMatch(/upgrade/i);
  });

  test("1.3 the User-Agent of $connect is that of the client", async () => {
    const arrived = await connected(await openGateway(), {}, { headers: { "user-agent": "browser/1" } });
    expect(headerOf(await arrived.called("connect"), "user-agent")).toBe("browser/1");
  });

  test("1.3 a client without a User-Agent has that of the gateway", async () => {
    const gateway = await openGateway();
    const call = await (await connected(gateway)).called("connect");
    expect(headerOf(call, "user-agent")).toBe(`AmazonAPIGateway_${gateway.apiId}`);
  });

  test("1.3 the User-Agent of messages and $disconnect is that of the gateway", async () => {
    const gateway = await openGateway();
    const arrived = await connected(gateway, {}, { headers: { "user-agent": "browser/1" } });
    const [, message, gone] = await lifeOf(arrived);
    expect(headerOf(message, "user-agent")).toBe(`AmazonAPIGateway_${gateway.apiId}`);
    expect(headerOf(gone, "user-agent")).toBe(`AmazonAPIGateway_${gateway.apiId}`);
  });

  test("1.3 every call contains the API id", async () => {
    const gateway = await openGateway();
    const calls = await lifeOf(await connected(gateway));
    const named = calls.map((call) => headerOf(call, "x-amzn-apigateway-api-id"));
    expect(named).toEqual([gateway.apiId, gateway.apiId, gateway.apiId]);
  });

  test("1.3 every call has its own trace id", async () => {
    const calls = await lifeOf(await connected(await openGateway()));
    const traces = calls.map((call) => headerOf(call, "x-amzn-trace-id"));
    for (const trace of traces) expect(trace).toMatch(TRACE);
    expect(new Set(traces).size).toBe(3);
  });

  test("1.3 X-Forwarded-For, -Port and -Proto of $connect describe the client", async () => {
    const gateway = await openGateway();
    const call = await (await connected(gateway)).called("connect");
    const { protocol, port } = new URL(gateway.url);
    expect(headerOf(call, "x-forwarded-for")).toBe(headerOf(call, "x-sallyport-source-ip"));
    expect(headerOf(call, "x-forwarded-port")).toBe(port || "443");
    expect(headerOf(call, "x-forwarded-proto")).toBe(protocol === "wss:" ? "https" : "http");
  });

  test("7 the address of the client is appended to the X-Forwarded-For that it sends", async () => {
    const arrived = await connected(
      await openGateway(),
      {},
      { headers: { "x-forwarded-for": "203.0.113.7" } },
    );
    const call = await arrived.called("connect");
    const address = headerOf(call, "x-sallyport-source-ip");
    expect(headerOf(call, "x-forwarded-for")?.split(/, ?/)).toEqual(["203.0.113.7", address]);
  });

  test("1.3 Host is that of the backend", async () => {
    const gateway = await openGateway();
    const calls = await lifeOf(await connected(gateway));
    const { host } = new URL(gateway.backend);
    expect(calls.map((call) => headerOf(call, "host"))).toEqual([host, host, host]);
  });

  test("1.3 hop-by-hop headers are never forwarded", async () => {
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
    const call = await (await connected(await openGateway(), {}, { headers })).called("connect");
    const hop = new Set(Object.keys(headers));
    expect(headerNames(call).filter((name) => hop.has(name))).toEqual([]);
  });

  test("1.3 a header that the client repeats is joined with a comma", async () => {
    const arrived = await connected(await openGateway(), {}, { headers: { "x-own": ["1", "2"] } });
    expect(headerOf(await arrived.called("connect"), "x-own")).toBe("1,2");
  });

  test("1.3 mapped headers are sent with every call", async () => {
    const gateway = await openGateway();
    const arrived = await connected(gateway);
    const calls = await lifeOf(arrived);
    const id = await idOf(arrived);
    expect(calls.map((call) => headerOf(call, "connectionId"))).toEqual([id, id, id]);
    expect(calls.map((call) => headerOf(call, "x-sallyport-stage"))).toEqual(calls.map(() => gateway.stage));
  });

  testLocally(
    "1.3 no header identifies the connection unless it is mapped",
    "an API without mappings",
    async () => {
      const backend = await openBackend();
      const routes = {
        $connect: { integration: { type: "HTTP_PROXY", uri: `${backend}/ws/connect` } },
      } as const;
      const gateway = await openGateway(
        { apis: [{ id: "plain00000", routes, stages: { dev: {} } }] },
        backend,
      );
      const call = await (await connected(gateway)).called("connect");
      const mapped = headerNames(call).filter((name) => /^(connectionid|x-sallyport-.*)$/.test(name));
      expect(mapped).toEqual([]);
      const [id = ""] = gateway.local.connectionIds;
      expect(id).toMatch(ID);
      expect(JSON.stringify(call)).not.toContain(id);
    },
  );
});

describe("§9 requests to an HTTP backend, where the behavior of AWS is unknown", () => {
  test("§9.6 a message has the content type of JSON", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.send("not JSON");
    expect(headerOf(await arrived.called("default"), "content-type")).toBe("application/json");
  });

  test("§9.6 messages and $disconnect have no forwarded headers", async () => {
    const [, message, gone] = await lifeOf(await connected(await openGateway()));
    const names = [...headerNames(message), ...headerNames(gone)];
    expect(names.filter((name) => name.startsWith("x-forwarded"))).toEqual([]);
  });

  test("§9.7 a mapped name keeps its letter case", async () => {
    const calls = await lifeOf(await connected(await openGateway()));
    for (const { rawHeaders } of calls) expect(rawHeaders).toContain("connectionId");
  });

  test.each(["connectionId", "CONNECTIONID", "x-sallyport-route-key", "X-Sallyport-Source-Ip"])(
    "§9.8 a %s header of the client is overwritten by the mapped one",
    async (name) => {
      const arrived = await connected(await openGateway(), {}, { headers: { [name]: "forged" } });
      const call = await arrived.called("connect");
      expect(headerNames(call).filter((header) => header === name.toLowerCase())).toHaveLength(1);
      expect(headerOf(call, name)).toBeDefined();
      expect(JSON.stringify(call.rawHeaders)).not.toContain("forged");
    },
  );

  test.each(["X-Amzn-Apigateway-Api-Id", "X-Amzn-Trace-Id"])(
    "§9.8 a %s header of the client is overwritten by that of the gateway",
    async (name) => {
      const arrived = await connected(await openGateway(), {}, { headers: { [name]: "forged" } });
      const call = await arrived.called("connect");
      expect(headerOf(call, name)).toBeDefined();
      expect(JSON.stringify(call.rawHeaders)).not.toContain("forged");
    },
  );

  testLocally(
    "§9.8 an option joins the headers of the client with those of the gateway",
    "a fault option",
    async () => {
      const gateway = await openGateway({});
      gateway.local.setFaults({ joinHeaders: true });
      const headers = {
        connectionid: "forged",
        "x-amzn-apigateway-api-id": "forged",
        "x-amzn-trace-id": "forged",
      };
      const arrived = connect(gateway, { case: "joined" }, { headers });
      await arrived.client.opened;
      const [call] = await callsOf(gateway.backend, "joined");
      const [id] = gateway.local.connectionIds;
      expect(headerOf(call as Recorded, "connectionId")).toBe(`forged, ${id}`);
      expect(headerOf(call as Recorded, "x-amzn-apigateway-api-id")).toBe(`forged, ${gateway.apiId}`);
      expect(headerOf(call as Recorded, "x-amzn-trace-id")).toMatch(/^forged, Root=/);
      expect(headerOf(call as Recorded, "x-sallyport-route-key")).toBe("$connect");
    },
  );

  test("§9.9 a mapped variable without a value adds no header", async () => {
    const [hello, message] = await lifeOf(await connected(await openGateway()));
    for (const name of ["x-sallyport-disconnect-code", "x-sallyport-disconnect-reason"])
      expect([headerOf(hello, name), headerOf(message, name)], name).toEqual([undefined, undefined]);
  });

  test("§9.9 a header of the client with the same name is not sent either", async () => {
    const headers = { "x-sallyport-disconnect-code": "1000" };
    const arrived = await connected(await openGateway(), {}, { headers });
    expect(headerOf(await arrived.called("connect"), "x-sallyport-disconnect-code")).toBeUndefined();
  });
});

/**
 * Opens an API whose routes have these parameters. Parameters of the client's request are only on
 * $connect.
 */
async function mapping(
  parameters: Record<string, string>,
  { variables = {} }: { variables?: Record<string, string> } = {},
): Promise<GatewayUnderTest> {
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
  return openGateway({ apis: [{ routes, stages: { dev: { variables } } }] }, backend);
}

const MAPPING = "an API with other mappings";
const HEADER = "integration.request.header.x-it";

describe("1.4 parameter mapping", () => {
  testLocally("1.4 a header can be mapped to a context variable", MAPPING, async () => {
    const calls = await lifeOf(await connected(await mapping({ [HEADER]: "context.routeKey" })));
    expect(calls.map((call) => headerOf(call, "x-it"))).toEqual(["$connect", "$default", "$disconnect"]);
  });

  testLocally("1.4 a header can be mapped to a stage variable", MAPPING, async () => {
    const gateway = await mapping({ [HEADER]: "stageVariables.color" }, { variables: { color: "red" } });
    expect(headerOf(await (await connected(gateway)).called("connect"), "x-it")).toBe("red");
  });

  testLocally("1.4 a header can be mapped to a literal in single quotes", MAPPING, async () => {
    const gateway = await mapping({ [HEADER]: "'context.stage, \"as it is\"'" });
    expect(headerOf(await (await connected(gateway)).called("connect"), "x-it")).toBe(
      'context.stage, "as it is"',
    );
  });

  testLocally("1.4 a header can be mapped to a part of the message", MAPPING, async () => {
    const arrived = await connected(await mapping({ [HEADER]: "route.request.body.a.b[1]" }));
    await echo(arrived, "ok", { a: { b: [0, "deep"] } });
    expect(headerOf(await arrived.called("default"), "x-it")).toBe("deep");
  });

  testLocally("1.4 a missing part, or a message that is not JSON, adds no header", MAPPING, async () => {
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
    testLocally(`1.4 a header can be mapped on $connect to ${source}`, MAPPING, async () => {
      const { url, backend } = await mapping({ [HEADER]: source });
      const place = { url: `${url}?tag=a&tag=b`, backend };
      const arrived = await connected(place, {}, { headers: { "x-own": ["1", "2"] } });
      expect(headerOf(await arrived.called("connect"), "x-it")).toBe(value);
    });

    for (const key of ["$default", "$disconnect", "custom"]) {
      testLocally(`1.4 ${source} cannot be mapped on ${key}`, MAPPING, async () => {
        const { local, backend } = await openGateway({});
        const routes = { [key]: route(backend, "default", { parameters: { [HEADER]: source } }) };
        expect(() => local.deploy({ routes })).toThrow(`"${source}" is a part of the client's request`);
      });
    }
  }

  for (const source of ["route.request.header.x-own", "route.request.multivaluequerystring.tag"]) {
    testLocally(`1.4 ${source} cannot be mapped unless its route declares it`, MAPPING, async () => {
      const { local, backend } = await openGateway({});
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
    testLocally(`1.4 ${declared} cannot be declared with required: ${required}`, MAPPING, async () => {
      const { local, backend } = await openGateway({});
      const requestParameters = { [declared]: { required } } as never;
      const routes = { $connect: route(backend, "connect", { requestParameters }) };
      expect(() => local.deploy({ routes })).toThrow(`"${declared}" is not a valid declaration.`);
    });
  }

  testLocally("1.4 only $connect can declare parameters", MAPPING, async () => {
    const { local, backend } = await openGateway({});
    const requestParameters = { "route.request.header.x": { required: false } } as const;
    const routes = { $default: route(backend, "default", { requestParameters }) };
    expect(() => local.deploy({ routes })).toThrow(/requestParameters are allowed on \$connect only/);
  });

  testLocally("1.4 a query parameter can be mapped, and is escaped", MAPPING, async () => {
    const gateway = await mapping({ "integration.request.querystring.it": "'a&b=ü'" });
    const arrived = await connected(gateway);
    await echo(arrived, "ok");
    expect((await arrived.called("default")).url).toBe("/ws/default?it=a%26b%3D%C3%BC");
  });

  testLocally("1.3 a mapped query parameter is appended to that of the client", MAPPING, async () => {
    const gateway = await mapping({ "integration.request.querystring.it": "'ours'" });
    const arrived = await connected(gateway, { it: "theirs" });
    expect(queryOf(await arrived.called("connect")).getAll("it")).toEqual(["theirs", "ours"]);
  });

  /** Opens a gateway whose messages go to a path with parts of the message. */
  async function pathOf(path: string): Promise<GatewayUnderTest> {
    const backend = await openBackend();
    const parameters = {
      "integration.request.path.where": "route.request.body.where",
      "integration.request.path.more": "route.request.body.more",
    };
    const routes = {
      $connect: route(backend, "connect"),
      $default: route(backend, path, { parameters, routeResponse: true }),
    };
    return openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
  }

  for (const [where, part] of [
    ["../a b", "..%2Fa%20b"],
    ["%2e%2e", "%252e%252e"],
    ["...", "..."],
    ["a?b#c", "a%3Fb%23c"],
    ["$&{more}", "%24%26%7Bmore%7D"],
    ["\ud800", "%EF%BF%BD"],
  ] as const) {
    testLocally(
      `1.4 a path parameter is mapped to ${JSON.stringify(where)}, and cannot leave its segment`,
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
    testLocally(
      `1.4 a path parameter ${path} with ${JSON.stringify(said)} would leave its segment, so the backend is not called`,
      MAPPING,
      async () => {
        const arrived = await connected(await pathOf(path));
        sendMessage(arrived, { body: "unheard" }, said);
        expectErrorFrame(await arrived.client.text(), "Internal server error", await idOf(arrived));
        expect(await arrived.kinds()).toEqual(["connect"]);
      },
    );
  }

  testLocally(
    "1.4 half a surrogate pair in a mapped query parameter becomes a replacement character",
    MAPPING,
    async () => {
      const gateway = await mapping({ "integration.request.querystring.it": "route.request.body.it" });
      const arrived = await connected(gateway);
      await echo(arrived, "ok", { it: "\ud800" });
      expect((await arrived.called("default")).url).toBe("/ws/default?it=%EF%BF%BD");
    },
  );

  const long = (characters: number) => `'${"x".repeat(characters - 2)}'`;

  testLocally("1.4 a value can have up to 512 characters", MAPPING, async () => {
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
    testLocally(`1.4 ${key} cannot be mapped to ${JSON.stringify(value)}`, MAPPING, async () => {
      await expect(mapping({ [key]: value })).rejects.toThrow(/cannot be mapped/);
    });
  }

  for (const name of ["content-length", "Transfer-Encoding", "x-amzn-trace-id", "X-Amzn-Apigateway-Api-Id"]) {
    testLocally(`1.3 the header ${name} cannot be mapped`, MAPPING, async () => {
      await expect(mapping({ [`integration.request.header.${name}`]: "'1'" })).rejects.toThrow(
        /cannot be mapped/,
      );
    });
  }
});

/** Returns the values of context variables of a call, as its headers contain them. */
function variables(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.map((name) => [`integration.request.header.x-${name.replaceAll(".", "-")}`, `context.${name}`]),
  );
}

describe("1.5 context variables and identifiers", () => {
  testLocally("1.5 every call has these variables", MAPPING, async () => {
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

  testLocally("1.5 each kind of call has additional variables", MAPPING, async () => {
    const names = ["messageId", "disconnectStatusCode", "disconnectReason"];
    const calls = await lifeOf(await connected(await mapping(variables(names))));
    expect(calls.map((call) => names.map((name) => headerOf(call, `x-${name}`)))).toEqual([
      [undefined, undefined, undefined],
      [expect.stringMatching(ID), undefined, undefined],
      [undefined, "1005", "Client-side close frame status not set"],
    ]);
  });

  testLocally(
    "1.5 variables of IAM or API keys can be mapped, and have no value without them",
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

  testLocally(
    "1.5 variables of Cognito or errors can be mapped, and have no value here",
    MAPPING,
    async () => {
      const names = ["identity.cognitoIdentityId", "error.message", "error.messageString", "status"];
      const calls = await lifeOf(await connected(await mapping(variables(names))));
      for (const call of calls)
        for (const name of names) expect(headerOf(call, `x-${name.replaceAll(".", "-")}`)).toBeUndefined();
    },
  );

  test("1.5 a connection id has 16 base64url characters with = at the end, and is unique", async () => {
    const gateway = await openGateway();
    const [one, other] = [await idOf(await connected(gateway)), await idOf(await connected(gateway))];
    expect([one, other]).toEqual([expect.stringMatching(ID), expect.stringMatching(ID)]);
    expect(one).not.toBe(other);
  });

  test("1.5 a request id has the format of a connection id, and differs for each call", async () => {
    const arrived = await connected(await openGateway());
    const ids = (await lifeOf(arrived)).map((call) => headerOf(call, "x-sallyport-request-id"));
    for (const id of ids) expect(id).toMatch(ID);
    expect(new Set([...ids, await idOf(arrived)]).size).toBe(4);
  });

  testLocally("1.5 requestId and extendedRequestId are equal, and messageId differs", MAPPING, async () => {
    const gateway = await mapping(variables(["requestId", "extendedRequestId", "messageId"]));
    const [, message] = await lifeOf(await connected(gateway));
    expect(headerOf(message, "x-extendedRequestId")).toBe(headerOf(message, "x-requestId"));
    expect(headerOf(message, "x-messageId")).not.toBe(headerOf(message, "x-requestId"));
  });

  test("1.5 connectedAt is the same time in milliseconds in all events of a connection", async () => {
    const calls = await lifeOf(await connected(await openGateway()));
    const [at, ...later] = calls.map((call) => headerOf(call, "x-sallyport-connected-at"));
    expect(at).toMatch(/^\d{13}$/);
    expect(later).toEqual([at, at]);
  });

  testLocally(
    "1.5 requestTimeEpoch is the time of a call, at most 2 ms after connectedAt on $connect",
    "a clock",
    async () => {
      const backend = await openBackend();
      const parameters = variables(["connectedAt", "requestTimeEpoch", "requestTime"]);
      const clock = new ManualClock(Date.UTC(2026, 1, 9, 18, 11, 43));
      const routes = {
        $connect: route(backend, "connect", { parameters }),
        $default: route(backend, "default", { parameters }),
      };
      const gateway = await openGateway({ clock, apis: [{ routes, stages: { dev: {} } }] }, backend);
      const arrived = await connected(gateway);
      clock.advance(65_000);
      sendMessage(arrived, {});
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
    const gateway = await openGateway();
    const calls = await lifeOf(await connected(gateway));
    const { host } = new URL(gateway.url);
    expect(calls.map((call) => headerOf(call, "x-sallyport-domain-name"))).toEqual([host, host, host]);
  });

  test("1.5 an API id has 10 lower-case letters and digits", async () => {
    const call = await (await connected(await openGateway())).called("connect");
    expect(headerOf(call, "x-amzn-apigateway-api-id")).toMatch(/^[a-z0-9]{10}$/);
  });

  test("1.5 sourceIp is the address of the client, and no header can forge it", async () => {
    const gateway = await openGateway();
    const headers = {
      "x-forwarded-for": "203.0.113.7",
      "x-real-ip": "203.0.113.7",
      forwarded: "for=203.0.113.7",
    };
    const [honest, forger] = [await connected(gateway), await connected(gateway, {}, { headers })];
    const address = headerOf(await honest.called("connect"), "x-sallyport-source-ip");
    expect(address).toMatch(/^[0-9a-f.:]+$/);
    expect(headerOf(await forger.called("connect"), "x-sallyport-source-ip")).toBe(address);
  });

  testLocally("1.5 a client without a User-Agent has no identity.userAgent", MAPPING, async () => {
    const call = await (await connected(await mapping(variables(["identity.userAgent"])))).called("connect");
    expect(headerOf(call, "x-identity-userAgent")).toBeUndefined();
  });
});

describe("1.7 the end of a connection", () => {
  test("1.7 a close by the client causes a $disconnect with its code and reason", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.close(4001, "done");
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("4001");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("done");
  });

  test("1.6 a close without a code is 1005 Client-side close frame status not set", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.close();
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1005");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("Client-side close frame status not set");
  });

  test("1.6 a close with only a code has no reason", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.close(1001);
    const gone = await arrived.called("disconnect");
    expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1001");
    expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBeUndefined();
  });

  test("1.7 a DELETE causes a $disconnect", async () => {
    const gateway = await openGateway();
    const arrived = await connected(gateway);
    expect((await manage(gateway, "DELETE", at(await idOf(arrived)))).status).toBe(204);
    expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe("1000");
  });

  test("1.7 $disconnect is sent after the connection was closed", async () => {
    const gateway = await openGateway();
    const arrived = await connected(gateway);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect((await manage(gateway, "GET", at(await idOf(arrived)))).status).toBe(410);
  });

  test("1.7 the answer to $disconnect is ignored, and $disconnect is not repeated", async () => {
    const gateway = await openGateway();
    const leaver = await connected(gateway, { disconnect_status: 500 });
    leaver.client.socket.close();
    await leaver.answered("disconnect");
    expect(await echo(await connected(gateway), "well")).toBe("well");
    expect(await leaver.kinds()).toEqual(["connect", "disconnect"]);
  });

  test("§9.21 $disconnect is sent after the messages before it were started", async () => {
    const arrived = await connected(await openGateway());
    for (let count = 0; count < 8; count++) sendMessage(arrived, {});
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(await arrived.kinds()).toEqual(["connect", ...Array(8).fill("default"), "disconnect"]);
  });

  test("1.7 $disconnect does not wait for the answer to a slow message", async () => {
    const arrived = await connected(await openGateway());
    sendMessage(arrived, { hold: true });
    await arrived.called("default");
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect((await arrived.called("default")).isAnswered).toBe(false);
    await arrived.release();
  });
});
