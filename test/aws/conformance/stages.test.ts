// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is AWS's own syntax
import { describe, expect } from "vitest";
import type { LocalApi, LocalGatewayOptions, LocalRoute } from "../../../src/local/emulator.ts";
import {
  at,
  callsOf,
  connected,
  type Desk,
  echo,
  expectErrorFrame,
  handshake,
  headerOf,
  idOf,
  manage,
  onDesk,
  openBackend,
  openDesk,
  type Place,
  route,
  say,
} from "./desk.ts";

const SEVERAL = "several APIs or stages";
const DOMAIN = "a domain of one's own";

/** An API whose calls say which it is and by which host it was reached. */
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

/** Two APIs, of which both have a stage `dev`, and only the second has `test`. */
async function twoApis(): Promise<Desk> {
  const backend = await openBackend();
  const apis = [api("first00000", backend, { dev: {} }), api("second0000", backend, { dev: {}, test: {} })];
  return openDesk({ apis }, backend);
}

/** The place of another stage beside a desk's first one. */
function stageOf({ url, backend }: Desk, stage: string): Place & Pick<Desk, "endpoint"> {
  const other = new URL(`/${stage}`, url).href;
  return { url: other, backend, endpoint: other.replace("ws:", "http:") };
}

/** Which API and stage a client reached, and by what name. */
async function reachedBy(place: Place, host?: string): Promise<readonly (string | undefined)[]> {
  const arrived = await connected(place, {}, host === undefined ? {} : { headers: { host } });
  const call = await arrived.called("connect");
  return ["x-api", "x-stage", "x-domain"].map((name) => headerOf(call, name));
}

describe("1.1 several APIs and stages", () => {
  const host = "second0000.execute-api.eu-west-1.amazonaws.com";

  onDesk("1.1 AWS's own host says which API a client is for", SEVERAL, async () => {
    expect(await reachedBy(await twoApis(), host)).toEqual(["second0000", "dev", host]);
  });

  onDesk("1.1 the host's case and port do not matter", SEVERAL, async () => {
    const written = `${host.toUpperCase()}:443`;
    expect(await reachedBy(await twoApis(), written)).toEqual(["second0000", "dev", written]);
  });

  onDesk("1.1 any other host is the first API's that has the stage", SEVERAL, async () => {
    const desk = await twoApis();
    const here = new URL(desk.url).host;
    expect(await reachedBy(desk)).toEqual(["first00000", "dev", here]);
    expect(await reachedBy(stageOf(desk, "test"))).toEqual(["second0000", "test", here]);
  });

  onDesk("1.2 a stage that another API has is 403", SEVERAL, async () => {
    const desk = await twoApis();
    const headers = { host: host.replace("second0000", "first00000") };
    expect((await handshake(stageOf(desk, "test"), {}, { headers })).status).toBe(403);
  });

  onDesk("5.4 a stage posts to its own connections only", SEVERAL, async () => {
    const desk = await twoApis();
    const there = stageOf(desk, "test");
    const arrived = await connected(there);
    const path = at(await idOf(arrived));
    for (const method of ["POST", "GET", "DELETE"] as const) {
      expect((await manage(desk, method, path)).status, method).toBe(410);
    }
    expect((await manage(there, "POST", path, "hello")).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });

  onDesk("5.4 an API posts to its own connections only", SEVERAL, async () => {
    const desk = await twoApis();
    const arrived = await connected(desk, {}, { headers: { host } });
    const path = at(await idOf(arrived));
    expect((await manage(desk, "POST", path, "x")).status).toBe(410);
    expect((await manage(desk, "POST", path, "hello", host)).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
  });
});

describe("5.1 custom domains", () => {
  const stage = { apiId: "first00000", stage: "dev" };
  const domains = { "ws.example.test": { chat: stage }, "root.example.test": { "": stage } };

  async function mapped(): Promise<Desk> {
    const backend = await openBackend();
    return openDesk({ apis: [api("first00000", backend, { dev: {} })], domains }, backend);
  }

  for (const [host, key] of [
    ["ws.example.test", "chat"],
    ["root.example.test", ""],
  ] as const) {
    const what = key === "" ? "at its root" : "by a key";

    onDesk(`1.1 a domain that is mapped ${what} leads to a stage without its name`, DOMAIN, async () => {
      const desk = await mapped();
      expect(await reachedBy(stageOf(desk, key), host)).toEqual(["first00000", "dev", host]);
    });

    onDesk(`5.1 the Management API is there as well, ${what}`, DOMAIN, async () => {
      const desk = await mapped();
      const place = stageOf(desk, key);
      const arrived = await connected(place, {}, { headers: { host } });
      const endpoint = place.endpoint.replace(/\/$/, "");
      expect((await manage({ endpoint }, "POST", at(await idOf(arrived)), "hello", host)).status).toBe(200);
      expect(await arrived.client.text()).toBe("hello");
    });

    onDesk(`§9.15 with the stage appended it is 403, ${what}`, DOMAIN, async () => {
      const desk = await mapped();
      const place = stageOf(desk, key);
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

  onDesk("1.2 a domain has no other path than its keys", DOMAIN, async () => {
    const desk = await mapped();
    const headers = { host: "ws.example.test" };
    for (const path of ["dev", "", "chat/dev", "chat/"])
      expect((await handshake(stageOf(desk, path), {}, { headers })).status, path).toBe(403);
  });
});

describe("1.2 an API whose own endpoint is switched off", () => {
  const stage = { apiId: "first00000", stage: "dev" };
  const domains = { "ws.example.test": { chat: stage } };
  const own = "first00000.execute-api.eu-west-1.amazonaws.com";

  /** A desk whose first API is reached by its domain alone; the second has a stage of the same name. */
  async function hidden(): Promise<Desk> {
    const backend = await openBackend();
    const first = { ...api("first00000", backend, { dev: {}, only: {} }), disableExecuteApiEndpoint: true };
    const apis = [first, api("second0000", backend, { dev: {} })];
    return openDesk({ apis, domains }, backend);
  }

  onDesk("1.2 is 403 by AWS's host and by any other", DOMAIN, async () => {
    const desk = await hidden();
    expect((await handshake(desk, {}, { headers: { host: own } })).status).toBe(403);
    expect((await handshake(stageOf(desk, "only"))).status).toBe(403);
    expect((await reachedBy(desk))[0]).toBe("second0000");
  });

  onDesk("5.1 its Management API is 403 there as well", DOMAIN, async () => {
    const desk = await hidden();
    const headers = { host: "ws.example.test" };
    const path = at(await idOf(await connected(stageOf(desk, "chat"), {}, { headers })));
    expect((await manage(desk, "POST", path, "x", own)).status).toBe(403);
    expect((await manage(stageOf(desk, "chat"), "POST", path, "x", "ws.example.test")).status).toBe(200);
  });

  onDesk("1.1 is reached by its domain", DOMAIN, async () => {
    const reached = await reachedBy(stageOf(await hidden(), "chat"), "ws.example.test");
    expect(reached).toEqual(["first00000", "dev", "ws.example.test"]);
  });

  onDesk("6.2 is switched off by a deployment", "a deployment", async () => {
    const desk = await openDesk({});
    const routes = { $connect: route(desk.backend, "connect") };
    desk.local.deploy({ routes, disableExecuteApiEndpoint: true });
    expect((await handshake(desk)).status).toBe(403);
    desk.local.deploy({ routes });
    expect((await handshake(desk)).status).toBe(101);
  });
});

describe("6.3 deployments", () => {
  onDesk("6.3 sockets stay open over a deployment", "a deployment", async () => {
    const desk = await openDesk({});
    const arrived = await connected(desk);
    const id = await idOf(arrived);
    desk.local.deploy({ routes: { $default: route(desk.backend, "default", { routeResponse: true }) } });
    expect(desk.local.connectionIds).toEqual([id]);
    expect((await manage(desk, "POST", at(id), "still here")).status).toBe(200);
    expect(await arrived.client.text()).toBe("still here");
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  onDesk("6.3 the next message of an open socket takes the new routes", "a deployment", async () => {
    const desk = await openDesk({});
    const arrived = await connected(desk);
    const other = await openBackend();
    desk.local.deploy({ routes: { $default: route(other, "default", { routeResponse: true }) } });
    expect(await echo(arrived, "by the new one")).toBe("by the new one");
    const [call] = await callsOf(other, await idOf(arrived), "?kind=default");
    expect(call?.kind).toBe("default");
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  onDesk("6.3 the next message goes by the new expression", "a deployment", async () => {
    const desk = await openDesk({});
    const arrived = await connected(desk);
    desk.local.deploy({
      routeSelectionExpression: "$request.body.verb",
      routes: {
        $default: route(desk.backend, "default"),
        send: route(desk.backend, "custom", { routeResponse: true }),
      },
    });
    expect(await echo(arrived, "by its verb", { action: "other", verb: "send" })).toBe("by its verb");
    expect(await arrived.kinds()).toEqual(["connect", "custom"]);
  });

  onDesk("§9.27 a stage that is not deployed to keeps its routes", "a deployment", async () => {
    const backend = await openBackend();
    const apis = [api("first00000", backend, { dev: {}, test: {} })];
    const desk = await openDesk({ apis }, backend);
    const [here, there] = [await connected(desk), await connected(stageOf(desk, "test"))];
    desk.local.deploy({ routes: { only: route(backend, "custom") } }, { stage: "dev" });
    say(here, {}, { action: "other" });
    expectErrorFrame(await here.client.text(), "Forbidden", await idOf(here));
    expect(await echo(there, "as before")).toBe("as before");
  });

  onDesk("§9.27 an API that is not deployed keeps its routes", "a deployment", async () => {
    const desk = await twoApis();
    const second = await connected(stageOf(desk, "test"));
    desk.local.deploy(
      { routes: { only: route(desk.backend, "custom") } },
      { apiId: "first00000", stage: "dev" },
    );
    expect(await echo(second, "as before")).toBe("as before");
  });

  onDesk("§9.27 an edit that is not deployed is not seen", "a deployment", async () => {
    const backend = await openBackend();
    const routes: Record<string, LocalRoute> = { ...api("first00000", backend, {}).routes };
    const desk = await openDesk({ apis: [{ id: "first00000", routes, stages: { dev: {} } }] }, backend);
    const arrived = await connected(desk);
    routes.$default = route(backend, "custom", { routeResponse: true });
    await echo(arrived, "as deployed");
    desk.local.deploy({ routes });
    await echo(arrived, "as edited");
    expect(await arrived.kinds()).toEqual(["connect", "default", "custom"]);
  });

  onDesk("6.2 a deployment to a stage that is not there makes it", "a deployment", async () => {
    const desk = await openDesk({});
    expect((await handshake(stageOf(desk, "new"))).status).toBe(403);
    desk.local.deploy({ routes: { $connect: route(desk.backend, "connect") } }, { stage: "new" });
    expect((await handshake(stageOf(desk, "new"))).status).toBe(101);
  });

  onDesk("1.2 a stage that nothing is deployed to is 403, until something is", "a deployment", async () => {
    const backend = await openBackend();
    const first = api("first00000", backend, { dev: {}, test: { deployed: false, variables: { a: "1" } } });
    const desk = await openDesk({ apis: [first] }, backend);
    const test = stageOf(desk, "test");
    expect((await handshake(test)).status).toBe(403);
    expect((await manage(test, "GET", at("L0SM9cOFvHcCIhw="))).status).toBe(403);
    const parameters = { "integration.request.header.x-a": "stageVariables.a" };
    desk.local.deploy({ routes: { $connect: route(backend, "connect", { parameters }) } }, { stage: "test" });
    expect(headerOf(await (await connected(test)).called("connect"), "x-a")).toBe("1");
  });

  onDesk("6.2 a deployment that makes a stage gives it its options", "a deployment", async () => {
    const desk = await openDesk({});
    const parameters = { "integration.request.header.x-a": "stageVariables.a" };
    const routes = { $connect: route(desk.backend, "connect", { parameters }) };
    desk.local.deploy({ routes }, { stage: "new", options: { variables: { a: "1" } } });
    expect(headerOf(await (await connected(stageOf(desk, "new"))).called("connect"), "x-a")).toBe("1");
  });

  onDesk("6.2 an API without a route cannot be deployed", "a deployment", async () => {
    const { local } = await openDesk({});
    expect(() => local.deploy({ routes: {} })).toThrow(/at least one route/);
  });
});

describe("6.2 stage variables", () => {
  const parameters = { "integration.request.header.x-color": "stageVariables.color" };

  /** A desk with two stages, whose messages go by their variables. */
  async function varied(
    dev: Readonly<Record<string, string>>,
    test: Readonly<Record<string, string>>,
    kind = "default",
  ): Promise<Desk> {
    const backend = await openBackend();
    const stages = { dev: { variables: dev }, test: { variables: test } };
    const $default = route(backend, kind, { parameters, routeResponse: true });
    return openDesk({ apis: [api("first00000", backend, stages, { $default })] }, backend);
  }

  onDesk("6.2 a variable stands in the path of a URL, each stage with its own", SEVERAL, async () => {
    const desk = await varied({ kind: "custom" }, { kind: "default" }, "${stageVariables.kind}");
    const [here, there] = [await connected(desk), await connected(stageOf(desk, "test"))];
    await echo(here, "ok");
    await echo(there, "ok");
    expect([await here.kinds(), await there.kinds()]).toEqual([
      ["connect", "custom"],
      ["connect", "default"],
    ]);
  });

  onDesk("6.2 a variable stands in the query of a URL", SEVERAL, async () => {
    const desk = await varied({ version: "v=2" }, {}, "default?of=${stageVariables.version}");
    const arrived = await connected(desk);
    await echo(arrived, "ok");
    expect((await arrived.called("default")).url).toBe("/ws/default?of=v=2");
  });

  onDesk("6.2 a variable stands in the host of a URL", SEVERAL, async () => {
    const backend = await openBackend();
    const { host } = new URL(backend);
    const $default = route("http://${stageVariables.host}", "default", { routeResponse: true });
    const stages = { dev: { variables: { host } } };
    const desk = await openDesk({ apis: [api("first00000", backend, stages, { $default })] }, backend);
    expect(await echo(await connected(desk), "there")).toBe("there");
  });

  onDesk("1.4 a variable stands in a mapping, each stage with its own", SEVERAL, async () => {
    const desk = await varied({ color: "red" }, { color: "blue" });
    const colors = [];
    for (const place of [desk, stageOf(desk, "test")]) {
      const arrived = await connected(place);
      await echo(arrived, "ok");
      colors.push(headerOf(await arrived.called("default"), "x-color"));
    }
    expect(colors).toEqual(["red", "blue"]);
  });

  onDesk("§9.9 a variable that a stage does not have is no header", SEVERAL, async () => {
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
    onDesk(
      `6.2 a variable ${shown} (${name.length} and ${value.length} characters) is refused`,
      SEVERAL,
      async () => {
        await expect(varied({ [name]: value }, {})).rejects.toThrow(/AWS does not accept/);
      },
    );
  }
});

/** So many of something, by name. */
function many<Value>(count: number, value: Value): Record<string, Value> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`n${index}`, value]));
}

describe("4 how many there may be", () => {
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
    onDesk(`4 there may be ${what}, and no more`, "a gateway of one's own", async () => {
      await expect(openDesk({ apis: [{ ...good, ...most }] }, nowhere)).resolves.toBeDefined();
      await expect(openDesk({ apis: [{ ...good, ...tooMany }] }, nowhere)).rejects.toThrow(words);
    });
  }

  onDesk("4 no deployment makes an eleventh stage", "a deployment", async () => {
    const { local } = await openDesk({ apis: [{ ...good, stages: many(10, {}) }] }, nowhere);
    expect(() => local.deploy({ routes: good.routes }, { stage: "n9" })).not.toThrow();
    expect(() => local.deploy({ routes: good.routes }, { stage: "n10" })).toThrow(/at most 10 stages/);
  });
});

describe("6.2 what cannot be", () => {
  const good = api("first00000", "http://127.0.0.1:9", { dev: {} });

  for (const [what, options, words] of [
    ["no API at all", { apis: [] }, /apis is empty/],
    ["two APIs of one id", { apis: [good, good] }, /Two APIs have the id/],
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
      "a domain of an API that is not there",
      { apis: [good], domains: { "ws.example.test": { "": { apiId: "nothing", stage: "dev" } } } },
      /leads to a stage that does not exist/,
    ],
    [
      "a domain of a stage that is not there",
      { apis: [good], domains: { "ws.example.test": { "": { apiId: "first00000", stage: "test" } } } },
      /leads to a stage that does not exist/,
    ],
    [
      "a target beside APIs",
      { apis: [good], target: "http://127.0.0.1:9" },
      /target is an option of a gateway with one/,
    ],
  ] satisfies readonly (readonly [string, Partial<LocalGatewayOptions>, RegExp])[]) {
    onDesk(`6.2 ${what} is refused at the start`, "a gateway of one's own", async () => {
      await expect(openDesk(options, "http://127.0.0.1:9")).rejects.toThrow(words);
    });
  }
});
