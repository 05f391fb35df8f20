// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the syntax of AWS
import { describe, expect } from "vitest";
import type { LocalApi, LocalGatewayOptions, LocalRoute } from "../../../src/local/emulator.ts";
import {
  at,
  callsOf,
  connected,
  echo,
  expectErrorFrame,
  type GatewayUnderTest,
  handshake,
  headerOf,
  idOf,
  manage,
  openBackend,
  openGateway,
  type Place,
  route,
  sendMessage,
  testLocally,
} from "./gateway-under-test.ts";

const SEVERAL = "several APIs or stages";
const DOMAIN = "a custom domain";

/** Returns an API whose calls contain its name and the host of the request. */
function api(
  id: string,
  origin: string,
  stages: LocalApi["stages"],
  more: LocalApi["routes"] = {},
): LocalApi {
  const parameters = {
    "integration.request.header.x-api": "context.apiId",
    "integration.request.header.x-stage": "context.stage",
    "integration.request.header.x-domain": "context.domainName",
  };
  const routes = {
    $connect: route(origin, "connect", { parameters }),
    $disconnect: route(origin, "disconnect", { parameters }),
    $default: route(origin, "default", { routeResponse: true }),
    ...more,
  };
  return { id, routes, stages };
}

/** Two APIs that both have a stage `dev`. Only the second one has `test`. */
async function twoApis(): Promise<GatewayUnderTest> {
  const backend = await openBackend();
  const apis = [api("first00000", backend, { dev: {} }), api("second0000", backend, { dev: {}, test: {} })];
  return openGateway({ apis }, backend);
}

/** Returns the address of another stage of the gateway. */
function stageOf(
  { url, backend }: GatewayUnderTest,
  stage: string,
): Place & Pick<GatewayUnderTest, "endpoint"> {
  const other = new URL(`/${stage}`, url).href;
  return { url: other, backend, endpoint: other.replace("ws:", "http:") };
}

/** Returns the API and stage that a client reached, and the host. */
async function reachedBy(place: Place, host?: string): Promise<readonly (string | undefined)[]> {
  const arrived = await connected(place, {}, host === undefined ? {} : { headers: { host } });
  const call = await arrived.called("connect");
  return ["x-api", "x-stage", "x-domain"].map((name) => headerOf(call, name));
}

describe("1.1 several APIs and stages", () => {
  const host = "second0000.execute-api.eu-west-1.amazonaws.com";

  testLocally("1.1 the host of AWS selects the API", SEVERAL, async () => {
    expect(await reachedBy(await twoApis(), host)).toEqual(["second0000", "dev", host]);
  });

  testLocally("1.1 the letter case and the port of the host do not matter", SEVERAL, async () => {
    const written = `${host.toUpperCase()}:443`;
    expect(await reachedBy(await twoApis(), written)).toEqual(["second0000", "dev", written]);
  });

  testLocally("1.1 any other host selects the first API that has the stage", SEVERAL, async () => {
    const gateway = await twoApis();
    const here = new URL(gateway.url).host;
    expect(await reachedBy(gateway)).toEqual(["first00000", "dev", here]);
    expect(await reachedBy(stageOf(gateway, "test"))).toEqual(["second0000", "test", here]);
  });

  testLocally("1.2 a stage of another API is 403", SEVERAL, async () => {
    const gateway = await twoApis();
    const headers = { host: host.replace("second0000", "first00000") };
    expect((await handshake(stageOf(gateway, "test"), {}, { headers })).status).toBe(403);
  });

  testLocally("5.4 a stage can post only to its own connections", SEVERAL, async () => {
    const gateway = await twoApis();
    const there = stageOf(gateway, "test");
    const arrived = await connected(there);
    const path = at(await idOf(arrived));
    for (const method of ["POST", "GET", "DELETE"] as const) {
      expect((await manage(gateway, method, path)).status, method).toBe(410);
    }
    expect((await manage(there, "POST", path, "hello")).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });

  testLocally("5.4 an API can post only to its own connections", SEVERAL, async () => {
    const gateway = await twoApis();
    const arrived = await connected(gateway, {}, { headers: { host } });
    const path = at(await idOf(arrived));
    expect((await manage(gateway, "POST", path, "x")).status).toBe(410);
    expect((await manage(gateway, "POST", path, "hello", host)).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });
});

describe("5.1 custom domains", () => {
  const stage = { apiId: "first00000", stage: "dev" };
  const domains = { "ws.example.test": { chat: stage }, "root.example.test": { "": stage } };

  async function mapped(): Promise<GatewayUnderTest> {
    const backend = await openBackend();
    return openGateway({ apis: [api("first00000", backend, { dev: {} })], domains }, backend);
  }

  for (const [host, key] of [
    ["ws.example.test", "chat"],
    ["root.example.test", ""],
  ] as const) {
    const what = key === "" ? "at its root" : "by a key";

    testLocally(`1.1 a domain that is mapped ${what} leads to a stage without its name`, DOMAIN, async () => {
      const gateway = await mapped();
      expect(await reachedBy(stageOf(gateway, key), host)).toEqual(["first00000", "dev", host]);
    });

    testLocally(`5.1 the Management API is available there too, ${what}`, DOMAIN, async () => {
      const gateway = await mapped();
      const place = stageOf(gateway, key);
      const arrived = await connected(place, {}, { headers: { host } });
      const endpoint = place.endpoint.replace(/\/$/, "");
      expect((await manage({ endpoint }, "POST", at(await idOf(arrived)), "hello", host)).status).toBe(200);
      expect(await arrived.client.text()).toBe("hello");
    });

    testLocally(`§9.15 with the stage appended it is 403, ${what}`, DOMAIN, async () => {
      const gateway = await mapped();
      const place = stageOf(gateway, key);
      const path = at(await idOf(await connected(place, {}, { headers: { host } })));
      const endpoint = `${place.endpoint.replace(/\/$/, "")}/dev`;
      const { status, headers, body } = await manage({ endpoint }, "POST", path, "x", host);
      expect([status, headers["x-amzn-errortype"], body]).toEqual([
        403,
        "ForbiddenException",
        '{"message":"Forbidden"}',
      ]);
    });
  }

  testLocally("1.2 a domain has no other paths than its mapping keys", DOMAIN, async () => {
    const gateway = await mapped();
    const headers = { host: "ws.example.test" };
    for (const path of ["dev", "", "chat/dev", "chat/"])
      expect((await handshake(stageOf(gateway, path), {}, { headers })).status, path).toBe(403);
  });
});

describe("1.2 an API with a disabled default endpoint", () => {
  const stage = { apiId: "first00000", stage: "dev" };
  const domains = { "ws.example.test": { chat: stage } };
  const own = "first00000.execute-api.eu-west-1.amazonaws.com";

  /**
   * Opens a gateway whose first API is available only at its domain. The second one has a stage of
   * the same name.
   */
  async function hidden(): Promise<GatewayUnderTest> {
    const backend = await openBackend();
    const first = { ...api("first00000", backend, { dev: {}, only: {} }), disableExecuteApiEndpoint: true };
    const apis = [first, api("second0000", backend, { dev: {} })];
    return openGateway({ apis, domains }, backend);
  }

  testLocally("1.2 is 403 at the host of AWS and at any other", DOMAIN, async () => {
    const gateway = await hidden();
    expect((await handshake(gateway, {}, { headers: { host: own } })).status).toBe(403);
    expect((await handshake(stageOf(gateway, "only"))).status).toBe(403);
    expect((await reachedBy(gateway))[0]).toBe("second0000");
  });

  testLocally("5.1 its Management API is 403 there too", DOMAIN, async () => {
    const gateway = await hidden();
    const headers = { host: "ws.example.test" };
    const path = at(await idOf(await connected(stageOf(gateway, "chat"), {}, { headers })));
    expect((await manage(gateway, "POST", path, "x", own)).status).toBe(403);
    expect((await manage(stageOf(gateway, "chat"), "POST", path, "x", "ws.example.test")).status).toBe(200);
  });

  testLocally("1.1 is available at its domain", DOMAIN, async () => {
    const reached = await reachedBy(stageOf(await hidden(), "chat"), "ws.example.test");
    expect(reached).toEqual(["first00000", "dev", "ws.example.test"]);
  });

  testLocally("6.2 can be disabled by a deployment", "a deployment", async () => {
    const gateway = await openGateway({});
    const routes = { $connect: route(gateway.backend, "connect") };
    gateway.local.deploy({ routes, disableExecuteApiEndpoint: true });
    expect((await handshake(gateway)).status).toBe(403);
    gateway.local.deploy({ routes });
    expect((await handshake(gateway)).status).toBe(101);
  });
});

describe("6.3 deployments", () => {
  testLocally("6.3 sockets stay open during a deployment", "a deployment", async () => {
    const gateway = await openGateway({});
    const arrived = await connected(gateway);
    const id = await idOf(arrived);
    gateway.local.deploy({
      routes: { $default: route(gateway.backend, "default", { routeResponse: true }) },
    });
    expect(gateway.local.connectionIds).toEqual([id]);
    expect((await manage(gateway, "POST", at(id), "still here")).status).toBe(200);
    expect(await arrived.client.text()).toBe("still here");
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  testLocally("6.3 the next message of an open socket uses the new routes", "a deployment", async () => {
    const gateway = await openGateway({});
    const arrived = await connected(gateway);
    const other = await openBackend();
    gateway.local.deploy({ routes: { $default: route(other, "default", { routeResponse: true }) } });
    expect(await echo(arrived, "by the new one")).toBe("by the new one");
    const [call] = await callsOf(other, await idOf(arrived), "?kind=default");
    expect(call?.kind).toBe("default");
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  testLocally("6.3 the next message is selected by the new expression", "a deployment", async () => {
    const gateway = await openGateway({});
    const arrived = await connected(gateway);
    gateway.local.deploy({
      routeSelectionExpression: "$request.body.verb",
      routes: {
        $default: route(gateway.backend, "default"),
        send: route(gateway.backend, "custom", { routeResponse: true }),
      },
    });
    expect(await echo(arrived, "by its verb", { action: "other", verb: "send" })).toBe("by its verb");
    expect(await arrived.kinds()).toEqual(["connect", "custom"]);
  });

  testLocally("§9.27 a stage without a deployment keeps its routes", "a deployment", async () => {
    const backend = await openBackend();
    const apis = [api("first00000", backend, { dev: {}, test: {} })];
    const gateway = await openGateway({ apis }, backend);
    const [here, there] = [await connected(gateway), await connected(stageOf(gateway, "test"))];
    gateway.local.deploy({ routes: { only: route(backend, "custom") } }, { stage: "dev" });
    sendMessage(here, {}, { action: "other" });
    expectErrorFrame(await here.client.text(), "Forbidden", await idOf(here));
    expect(await echo(there, "as before")).toBe("as before");
  });

  testLocally("§9.27 an API that is not deployed keeps its routes", "a deployment", async () => {
    const gateway = await twoApis();
    const second = await connected(stageOf(gateway, "test"));
    gateway.local.deploy(
      { routes: { only: route(gateway.backend, "custom") } },
      { apiId: "first00000", stage: "dev" },
    );
    expect(await echo(second, "as before")).toBe("as before");
  });

  testLocally("§9.27 an edit that is not deployed has no effect", "a deployment", async () => {
    const backend = await openBackend();
    const routes: Record<string, LocalRoute> = { ...api("first00000", backend, {}).routes };
    const gateway = await openGateway({ apis: [{ id: "first00000", routes, stages: { dev: {} } }] }, backend);
    const arrived = await connected(gateway);
    routes.$default = route(backend, "custom", { routeResponse: true });
    await echo(arrived, "as deployed");
    gateway.local.deploy({ routes });
    await echo(arrived, "as edited");
    expect(await arrived.kinds()).toEqual(["connect", "default", "custom"]);
  });

  testLocally("6.2 a deployment to a missing stage creates it", "a deployment", async () => {
    const gateway = await openGateway({});
    expect((await handshake(stageOf(gateway, "new"))).status).toBe(403);
    gateway.local.deploy({ routes: { $connect: route(gateway.backend, "connect") } }, { stage: "new" });
    expect((await handshake(stageOf(gateway, "new"))).status).toBe(101);
  });

  testLocally("1.2 a stage without a deployment is 403 until the first one", "a deployment", async () => {
    const backend = await openBackend();
    const first = api("first00000", backend, { dev: {}, test: { deployed: false, variables: { a: "1" } } });
    const gateway = await openGateway({ apis: [first] }, backend);
    const test = stageOf(gateway, "test");
    expect((await handshake(test)).status).toBe(403);
    expect((await manage(test, "GET", at("L0SM9cOFvHcCIhw="))).status).toBe(403);
    const parameters = { "integration.request.header.x-a": "stageVariables.a" };
    gateway.local.deploy(
      { routes: { $connect: route(backend, "connect", { parameters }) } },
      { stage: "test" },
    );
    expect(headerOf(await (await connected(test)).called("connect"), "x-a")).toBe("1");
  });

  testLocally("6.2 a deployment that creates a stage sets its options", "a deployment", async () => {
    const gateway = await openGateway({});
    const parameters = { "integration.request.header.x-a": "stageVariables.a" };
    const routes = { $connect: route(gateway.backend, "connect", { parameters }) };
    gateway.local.deploy({ routes }, { stage: "new", options: { variables: { a: "1" } } });
    expect(headerOf(await (await connected(stageOf(gateway, "new"))).called("connect"), "x-a")).toBe("1");
  });

  testLocally("6.2 an API without a route cannot be deployed", "a deployment", async () => {
    const { local } = await openGateway({});
    expect(() => local.deploy({ routes: {} })).toThrow(/at least one route/);
  });
});

describe("6.2 stage variables", () => {
  const parameters = { "integration.request.header.x-color": "stageVariables.color" };

  /** Opens a gateway with two stages, whose messages go to URLs with stage variables. */
  async function varied(
    dev: Readonly<Record<string, string>>,
    test: Readonly<Record<string, string>>,
    kind = "default",
  ): Promise<GatewayUnderTest> {
    const backend = await openBackend();
    const stages = { dev: { variables: dev }, test: { variables: test } };
    const $default = route(backend, kind, { parameters, routeResponse: true });
    return openGateway({ apis: [api("first00000", backend, stages, { $default })] }, backend);
  }

  testLocally(
    "6.2 a variable can be in the path of a URL, with a value for each stage",
    SEVERAL,
    async () => {
      const gateway = await varied({ kind: "custom" }, { kind: "default" }, "${stageVariables.kind}");
      const [here, there] = [await connected(gateway), await connected(stageOf(gateway, "test"))];
      await echo(here, "ok");
      await echo(there, "ok");
      expect([await here.kinds(), await there.kinds()]).toEqual([
        ["connect", "custom"],
        ["connect", "default"],
      ]);
    },
  );

  testLocally("6.2 a variable can be in the query of a URL", SEVERAL, async () => {
    const gateway = await varied({ version: "v=2" }, {}, "default?of=${stageVariables.version}");
    const arrived = await connected(gateway);
    await echo(arrived, "ok");
    expect((await arrived.called("default")).url).toBe("/ws/default?of=v=2");
  });

  testLocally("6.2 a variable can be in the host of a URL", SEVERAL, async () => {
    const backend = await openBackend();
    const { host } = new URL(backend);
    const $default = route("http://${stageVariables.host}", "default", { routeResponse: true });
    const stages = { dev: { variables: { host } } };
    const gateway = await openGateway({ apis: [api("first00000", backend, stages, { $default })] }, backend);
    expect(await echo(await connected(gateway), "there")).toBe("there");
  });

  testLocally("1.4 a variable can be in a mapping, with a value for each stage", SEVERAL, async () => {
    const gateway = await varied({ color: "red" }, { color: "blue" });
    const colors = [];
    for (const place of [gateway, stageOf(gateway, "test")]) {
      const arrived = await connected(place);
      await echo(arrived, "ok");
      colors.push(headerOf(await arrived.called("default"), "x-color"));
    }
    expect(colors).toEqual(["red", "blue"]);
  });

  testLocally("§9.9 a variable that a stage does not have adds no header", SEVERAL, async () => {
    const arrived = await connected(await varied({}, {}));
    await echo(arrived, "ok");
    expect(headerOf(await arrived.called("default"), "x-color")).toBeUndefined();
  });

  for (const [name, value] of [
    ["secret", "a+b"],
    ["secret", "a%20b"],
    ["secret", "a b"],
    ["secret", ""],
    ["secret", "x".repeat(513)],
    ["a-b", "x"],
    ["x".repeat(65), "x"],
  ] as const) {
    const shown = `${name.slice(0, 8)}=${value.slice(0, 8)}`;
    testLocally(
      `6.2 a variable ${shown} (${name.length} and ${value.length} characters) is rejected`,
      SEVERAL,
      async () => {
        await expect(varied({ [name]: value }, {})).rejects.toThrow(/AWS does not accept/);
      },
    );
  }
});

/** Returns this many items by name. */
function many<Value>(count: number, value: Value): Record<string, Value> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`n${index}`, value]));
}

describe("4 maximum numbers", () => {
  const nowhere = "http://127.0.0.1:9";
  const good = api("first00000", nowhere, { dev: {} });
  const message = route(nowhere, "default");

  for (const [what, most, tooMany, words] of [
    ["300 routes", { routes: many(300, message) }, { routes: many(301, message) }, /at most 300/],
    ["10 stages", { stages: many(10, {}) }, { stages: many(11, {}) }, /at most 10 stages/],
    [
      "100 variables of a stage",
      { stages: { dev: { variables: many(100, "v") } } },
      { stages: { dev: { variables: many(101, "v") } } },
      /a stage can have at most 100/,
    ],
  ] as const) {
    testLocally(`4 ${what} are allowed, and no more`, "a separate gateway", async () => {
      await expect(openGateway({ apis: [{ ...good, ...most }] }, nowhere)).resolves.toBeDefined();
      await expect(openGateway({ apis: [{ ...good, ...tooMany }] }, nowhere)).rejects.toThrow(words);
    });
  }

  testLocally("4 a deployment cannot create an eleventh stage", "a deployment", async () => {
    const { local } = await openGateway({ apis: [{ ...good, stages: many(10, {}) }] }, nowhere);
    expect(() => local.deploy({ routes: good.routes }, { stage: "n9" })).not.toThrow();
    expect(() => local.deploy({ routes: good.routes }, { stage: "n10" })).toThrow(/at most 10 stages/);
  });
});

describe("6.2 invalid definitions", () => {
  const good = api("first00000", "http://127.0.0.1:9", { dev: {} });

  for (const [what, options, words] of [
    ["no API at all", { apis: [] }, /apis is empty/],
    ["two APIs with the same id", { apis: [good, good] }, /Two APIs have the id/],
    ["an API without a stage", { apis: [{ ...good, stages: {} }] }, /has no stage/],
    ["an API without a route", { apis: [{ ...good, routes: {} }] }, /at least one route/],
    [
      "an id with a dash",
      { apis: [{ ...good, id: "a-b" }] },
      /apiId must be 1 to 64 lower-case letters and digits/,
    ],
    ["a stage with a space", { apis: [{ ...good, stages: { "a b": {} } }] }, /is not a valid stage name/],
    [
      "a stage of 129 characters",
      { apis: [{ ...good, stages: { ["s".repeat(129)]: {} } }] },
      /is not a valid stage name/,
    ],
    [
      "a domain of an unknown API",
      { apis: [good], domains: { "ws.example.test": { "": { apiId: "nothing", stage: "dev" } } } },
      /leads to a stage that does not exist/,
    ],
    [
      "a domain of an unknown stage",
      { apis: [good], domains: { "ws.example.test": { "": { apiId: "first00000", stage: "test" } } } },
      /leads to a stage that does not exist/,
    ],
    [
      "a target in addition to APIs",
      { apis: [good], target: "http://127.0.0.1:9" },
      /target is an option of a gateway with one/,
    ],
  ] satisfies readonly (readonly [string, Partial<LocalGatewayOptions>, RegExp])[]) {
    testLocally(`6.2 ${what} is rejected at startup`, "a separate gateway", async () => {
      await expect(openGateway(options, "http://127.0.0.1:9")).rejects.toThrow(words);
    });
  }
});
