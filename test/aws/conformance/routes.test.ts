// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the syntax of AWS
import { describe, expect, test } from "vitest";
import { frameOf } from "../../local/rig.ts";
import {
  connected,
  echo,
  expectErrorFrame,
  type GatewayUnderTest,
  headerOf,
  idOf,
  openBackend,
  openGateway,
  route,
  sendMessage,
  testLocally,
  write,
} from "./gateway-under-test.ts";

/**
 * Opens a gateway with a route selection expression and these route keys. Each route adds its key
 * to its calls.
 */
async function selecting(
  expression: string,
  keys: readonly string[],
  hasDefault = true,
): Promise<GatewayUnderTest> {
  const backend = await openBackend();
  const parameters = { "integration.request.header.x-route": "context.routeKey" };
  const routes = Object.fromEntries(
    ["$connect", ...(hasDefault ? ["$default"] : []), ...keys].map((key) => [
      key,
      route(backend, key === "$connect" ? "connect" : "message", { parameters, routeResponse: true }),
    ]),
  );
  const options = { routeSelectionExpression: expression, routes, stages: { dev: {} } };
  return openGateway({ apis: [options] }, backend);
}

/** Sends a message in frames below the size limit. */
function framesOf(text: string): Buffer {
  const parts = text.match(/.{1,30000}/gs) ?? [];
  const frames = parts.map((part, index) =>
    frameOf(part, { opcode: index === 0 ? 1 : 0, fin: index === parts.length - 1 }),
  );
  return Buffer.concat(frames);
}

/** Returns the route that a message selects. */
async function routeOf(gateway: GatewayUnderTest, body: object): Promise<string | undefined> {
  const arrived = await connected(gateway);
  await echo(arrived, "ok", body);
  return headerOf(await arrived.called("message"), "x-route");
}

describe("2 route selection", () => {
  test("2 a message whose action is a route key selects that route", async () => {
    const arrived = await connected(await openGateway());
    expect(await echo(arrived, "ok", { action: "custom" })).toBe("ok");
    expect(await arrived.kinds()).toEqual(["connect", "custom"]);
  });

  test("2 a message whose action is not a route key selects $default", async () => {
    const arrived = await connected(await openGateway());
    await echo(arrived, "ok", { action: "unknown" });
    expect(await arrived.kinds()).toEqual(["connect", "default"]);
  });

  test("2 the comparison is exact", async () => {
    const arrived = await connected(await openGateway());
    for (const action of ["Custom", "CUSTOM", "custom ", " custom", "custo", "customs"])
      await echo(arrived, "ok", { action });
    expect(await arrived.kinds()).not.toContain("custom");
  });

  test("2 the expression is evaluated once per message, also with several frames", async () => {
    const arrived = await connected(await openGateway());
    const text = '{"action":"custom","answer":{"body":"once"}}';
    for (const [index, character] of [...text].entries())
      arrived.client.socket.send(character, { fin: index === text.length - 1 });
    expect(await arrived.client.text()).toBe("once");
    expect(await arrived.kinds()).toEqual(["connect", "custom"]);
  });

  testLocally("2 a path can refer to nested fields", "another expression", async () => {
    const gateway = await selecting("$request.body.to.verb", ["send"]);
    expect(await routeOf(gateway, { to: { verb: "send" }, verb: "other" })).toBe("send");
  });

  testLocally("2 a path can refer to list items", "another expression", async () => {
    const gateway = await selecting("$request.body.to[1].verb", ["send"]);
    expect(await routeOf(gateway, { to: [{ verb: "other" }, { verb: "send" }] })).toBe("send");
  });

  testLocally("2 several parts are joined with text between them", "another expression", async () => {
    const gateway = await selecting("${request.body.service}/${request.body.action}", ["chat/send"]);
    expect(await routeOf(gateway, { service: "chat", action: "send" })).toBe("chat/send");
    expect(await routeOf(gateway, { service: "chat", action: "leave" })).toBe("$default");
  });

  testLocally("2 a missing part is an empty string", "another expression", async () => {
    const gateway = await selecting("${request.body.action}-${request.body.nope}", ["join-"]);
    expect(await routeOf(gateway, { action: "join" })).toBe("join-");
  });

  testLocally(
    "2 a literal expression sends every message to the route of that name",
    "another expression",
    async () => {
      const gateway = await selecting("fixed", ["fixed", "other"]);
      expect(await routeOf(gateway, { action: "other" })).toBe("fixed");
    },
  );

  testLocally("2 \\$default sends every message to $default", "another expression", async () => {
    const gateway = await selecting("\\$default", ["send"]);
    expect(await routeOf(gateway, { action: "send" })).toBe("$default");
  });

  for (const [value, key] of [
    [7, "7"],
    [1.5, "1.5"],
    [true, "true"],
    [false, "false"],
  ] as const) {
    testLocally(`2 ${value} in a message is converted to its JSON text`, "another expression", async () => {
      expect(await routeOf(await selecting("$request.body.action", [key]), { action: value })).toBe(key);
    });
  }

  testLocally("2 a list in a message is [item1, item2]", "another expression", async () => {
    const gateway = await selecting("$request.body.action", ["[a, 1]"]);
    expect(await routeOf(gateway, { action: ["a", 1] })).toBe("[a, 1]");
  });

  test("2 text that is not JSON selects $default", async () => {
    const arrived = await connected(await openGateway());
    for (const text of ["custom", "", "{", "custom()"]) arrived.client.socket.send(text);
    await arrived.called("default", 4);
    expect(await arrived.kinds()).not.toContain("custom");
  });

  test("2 JSON that is not an object selects $default", async () => {
    const arrived = await connected(await openGateway());
    for (const text of ['"custom"', '["custom"]', "7", "null"]) arrived.client.socket.send(text);
    await arrived.called("default", 4);
    expect(await arrived.kinds()).not.toContain("custom");
  });

  testLocally(
    "2 a value that is nested too deeply for a string selects $default",
    "a separate gateway",
    async () => {
      const arrived = await connected(await openGateway({}));
      for (const [open, close] of [
        ["[", "]"],
        ['{"a":', "}"],
      ] as const) {
        arrived.client.socket.send(`{"action":${open.repeat(5_000)}1${close.repeat(5_000)}}`);
        write(arrived, framesOf(`{"action":${open.repeat(20_000)}1${close.repeat(20_000)}}`));
      }
      for (const _ of [1, 2, 3, 4]) expect(await arrived.client.text()).toBe("");
      expect(await echo(arrived, "still here")).toBe("still here");
      expect(await arrived.kinds()).not.toContain("custom");
    },
  );

  test("§9.24 JSON is parsed strictly, so a key without quotes selects $default", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.send('{"action":"custom", body:"hello"}');
    await arrived.called("default");
    expect(await arrived.kinds()).toEqual(["connect", "default"]);
  });

  test.each(["$connect", "$disconnect", "$default"])(
    "§9.25 a message that names %s selects $default",
    async (action) => {
      const arrived = await connected(await openGateway());
      await echo(arrived, "ok", { action });
      expect(await arrived.kinds()).toEqual(["connect", "default"]);
      expect(headerOf(await arrived.called("default"), "x-sallyport-route-key")).toBe("$default");
    },
  );

  for (const action of ["nothing", "$connect", "$disconnect", "$default"]) {
    testLocally(
      `2 without $default, a message that names ${action} receives the Forbidden frame`,
      "an API without $default",
      async () => {
        const arrived = await connected(await selecting("$request.body.action", ["send"], false));
        sendMessage(arrived, { body: "unheard" }, { action });
        expectErrorFrame(await arrived.client.text(), "Forbidden", await idOf(arrived));
        expect(await arrived.kinds()).toEqual(["connect"]);
      },
    );
  }

  testLocally("2 the socket stays open after a Forbidden frame", "an API without $default", async () => {
    const arrived = await connected(await selecting("$request.body.action", ["send"], false));
    arrived.client.socket.send("no JSON");
    expectErrorFrame(await arrived.client.text(), "Forbidden", await idOf(arrived));
    expect(await echo(arrived, "here", { action: "send" })).toBe("here");
  });

  testLocally("2 a route that is not deployed yet is forbidden too", "a deployment", async () => {
    const backend = await openBackend();
    const deployed = { $connect: route(backend, "connect"), old: route(backend, "old") };
    const gateway = await openGateway({ apis: [{ routes: deployed, stages: { dev: {} } }] }, backend);
    const arrived = await connected(gateway);
    sendMessage(arrived, {}, { action: "new" });
    expectErrorFrame(await arrived.client.text(), "Forbidden", await idOf(arrived));
    gateway.local.deploy({ routes: { ...deployed, new: route(backend, "new", { routeResponse: true }) } });
    expect(await echo(arrived, "deployed", { action: "new" })).toBe("deployed");
  });

  for (const key of ["$other", "$send", ""]) {
    testLocally(`2 ${JSON.stringify(key)} is not a route key`, "a separate API", async () => {
      const gateway = await openGateway({});
      const deploying = () => gateway.local.deploy({ routes: { [key]: route(gateway.backend, "other") } });
      expect(deploying).toThrow(/is not a route key/);
    });
  }

  test("2 a binary message closes the socket with 1003, and no integration is called", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.send(Buffer.from('{"action":"custom"}'));
    expect((await arrived.client.closed).code).toBe(1003);
    expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe("1003");
    expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
  });

  test("2 an empty binary message closes the socket too", async () => {
    const arrived = await connected(await openGateway());
    write(arrived, frameOf("", { opcode: 2 }));
    expect((await arrived.client.closed).code).toBe(1003);
  });
});
