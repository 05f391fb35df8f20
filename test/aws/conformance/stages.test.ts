import { expect } from "vitest";
import type { LocalApi, LocalRoute } from "../../../src/local/emulator.ts";
import {
  at,
  connected,
  handshake,
  headerOf,
  idOf,
  manage,
  onDesk,
  openBackend,
  openDesk,
  say,
} from "./desk.ts";

const NAMED = { "integration.request.header.connectionId": "context.connectionId" };

function route(uri: string, requestParameters: Record<string, string> = {}): LocalRoute {
  return {
    integration: { type: "HTTP_PROXY", uri, requestParameters: { ...NAMED, ...requestParameters } },
    routeResponse: true,
  };
}

function api(id: string, origin: string, stages: LocalApi["stages"]): LocalApi {
  const domain = {
    "integration.request.header.x-domain": "context.domainName",
    "integration.request.header.x-api": "context.apiId",
  };
  return {
    id,
    routes: { $connect: route(`${origin}/ws/connect`, domain), $default: route(`${origin}/ws/default`) },
    stages,
  };
}

onDesk(
  "several APIs stand beside each other: the host says which, or the only stage of that name",
  async () => {
    const { origin } = await openBackend();
    const desk = await openDesk({
      apis: [api("first00000", origin, { dev: {} }), api("second0000", origin, { dev: {}, test: {} })],
    });
    const apiOf = async (url: string, host?: string) => {
      const arrived = await connected(
        { url, backend: origin },
        {},
        host === undefined ? {} : { headers: { host } },
      );
      const call = await arrived.called("connect");
      return [headerOf(call, "x-api"), headerOf(call, "x-domain")];
    };
    const here = new URL(desk.url).host;
    expect(await apiOf(desk.url)).toEqual(["first00000", here]);
    expect(await apiOf(desk.url.replace("/dev", "/test"))).toEqual(["second0000", here]);
    const host = "second0000.execute-api.eu-west-1.amazonaws.com";
    expect(await apiOf(desk.url, host)).toEqual(["second0000", host]);
    expect(
      await handshake(
        { url: desk.url.replace("/dev", "/test"), backend: origin },
        {},
        { headers: { host: "first00000.example.test" } },
      ),
    ).toBe(403);
  },
);

onDesk(
  "5.1 a domain of one's own has a key in place of the stage, for sockets and for the Management API",
  async () => {
    const { origin } = await openBackend();
    const stage = { apiId: "first00000", stage: "dev" };
    const desk = await openDesk({
      apis: [api("first00000", origin, { dev: {} })],
      domains: { "ws.example.test": { chat: stage }, "root.example.test": { "": stage } },
    });
    const base = desk.endpoint.replace(/\/dev$/, "");
    for (const [host, key] of [
      ["ws.example.test", "/chat"],
      ["root.example.test", ""],
    ] as const) {
      const url = `${desk.url.replace(/\/dev$/, "")}${key || "/"}`;
      const arrived = await connected({ url, backend: origin }, {}, { headers: { host } });
      const call = await arrived.called("connect");
      expect(headerOf(call, "x-domain")).toBe(host);
      const id = await idOf(arrived);
      expect((await manage({ endpoint: `${base}${key}` }, "POST", at(id), "hello", host)).status).toBe(200);
      expect(await arrived.client.text()).toBe("hello");
      expect(
        (await manage({ endpoint: `${base}${key}/dev` }, "POST", at(id), "x", host)).status,
        "with the stage",
      ).toBe(403);
    }
    expect(
      await handshake({ url: desk.url, backend: origin }, {}, { headers: { host: "ws.example.test" } }),
    ).toBe(403);
  },
);

onDesk(
  "6.3, §9.27 a deployment changes the routes under open sockets, and what is not deployed changes nothing",
  async () => {
    const [{ origin: one }, { origin: two }] = [await openBackend(), await openBackend()];
    const desk = await openDesk({ apis: [api("first00000", one, { dev: {}, test: {} })] });
    const here = await connected({ url: desk.url, backend: one });
    const there = await connected({ url: desk.url.replace("/dev", "/test"), backend: one });
    desk.local.deploy(
      { routes: { ...api("x", one, {}).routes, $default: route(`${two}/ws/default`) } },
      { stage: "dev" },
    );
    say(here, { body: "by the new one" });
    expect(await here.client.text()).toBe("by the new one");
    say(there, { body: "by the old one" });
    expect(await there.client.text()).toBe("by the old one");
    expect((await here.calls()).map(({ kind }) => kind)).toEqual(["connect"]);
    expect((await there.calls()).map(({ kind }) => kind)).toEqual(["connect", "default"]);
    expect(desk.local.connectionCount).toBe(2);
  },
);

onDesk(
  "6.2 a stage's variables stand in its URLs and headers; one that is missing is AWS's error",
  async () => {
    const { origin } = await openBackend();
    const served = api("first00000", origin, {
      dev: { variables: { kind: "default", color: "red" } },
      bare: {},
    });
    // biome-ignore lint/suspicious/noTemplateCurlyInString: AWS's own syntax
    const uri = `${origin}/ws/${"${stageVariables.kind}"}`;
    const routes = {
      ...served.routes,
      $default: route(uri, { "integration.request.header.x-color": "stageVariables.color" }),
    };
    const desk = await openDesk({ apis: [{ ...served, routes }] });
    const arrived = await connected({ url: desk.url, backend: origin });
    say(arrived, { body: "ok" });
    expect(await arrived.client.text()).toBe("ok");
    expect(headerOf(await arrived.called("default"), "x-color")).toBe("red");
    const bare = await connected({ url: desk.url.replace("/dev", "/bare"), backend: origin });
    bare.client.socket.send("{}");
    expect(await bare.client.text()).toMatch(/^\{"message": "Internal server error"/);
  },
);

onDesk("6.2 what cannot be an API, a stage, a variable or a domain is refused at the start", async () => {
  const { origin } = await openBackend();
  const good = api("first00000", origin, { dev: {} });
  for (const [options, words] of [
    [{ apis: [] }, /apis is empty/],
    [{ apis: [good, good] }, /Two APIs have the id/],
    [{ apis: [{ ...good, stages: {} }] }, /has no stage/],
    [{ apis: [{ ...good, routes: {} }] }, /at least one route/],
    [
      { apis: [{ ...good, routes: { $other: good.routes.$default as LocalRoute } }] },
      /"\$other" is no route key/,
    ],
    [{ apis: [{ ...good, stages: { "a b": {} } }] }, /no stage name/],
    [{ apis: [{ ...good, stages: { dev: { variables: { secret: "a+b" } } } }] }, /AWS does not take/],
    [
      { apis: [good], domains: { "ws.example.test": { "": { apiId: "nothing", stage: "dev" } } } },
      /leads to no stage/,
    ],
    [{ apis: [good], target: origin }, /target is for a gateway with one target/],
  ] as const)
    await expect(openDesk(options as never), String(words)).rejects.toThrow(words);
});
