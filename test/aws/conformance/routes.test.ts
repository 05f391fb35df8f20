// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is AWS's own syntax
import { describe, expect, test } from "vitest";
import { frameOf } from "../../local/rig.ts";
import {
  connected,
  type Desk,
  echo,
  expectErrorFrame,
  headerOf,
  idOf,
  onDesk,
  openBackend,
  openDesk,
  route,
  say,
  write,
} from "./desk.ts";

/** A desk whose API selects by an expression among keys of one's own; each route names itself in its calls. */
async function selecting(expression: string, keys: readonly string[], hasDefault = true): Promise<Desk> {
  const backend = await openBackend();
  const parameters = { "integration.request.header.x-route": "context.routeKey" };
  const routes = Object.fromEntries(
    ["$connect", ...(hasDefault ? ["$default"] : []), ...keys].map((key) => [
      key,
      route(backend, key === "$connect" ? "connect" : "message", { parameters, routeResponse: true }),
    ]),
  );
  const options = { routeSelectionExpression: expression, routes, stages: { dev: {} } };
  return openDesk({ apis: [options] }, backend);
}

/** A message in frames that are none too large. */
function framesOf(text: string): Buffer {
  const parts = text.match(/.{1,30000}/gs) ?? [];
  const frames = parts.map((part, index) =>
    frameOf(part, { opcode: index === 0 ? 1 : 0, fin: index === parts.length - 1 }),
  );
  return Buffer.concat(frames);
}

/** The route that a message takes. */
async function routeOf(desk: Desk, body: object): Promise<string | undefined> {
  const arrived = await connected(desk);
  await echo(arrived, "ok", body);
  return headerOf(await arrived.called("message"), "x-route");
}

describe("2 route selection", () => {
  test("2 a message whose action is a route's key takes that route", async () => {
    const arrived = await connected(await openDesk());
    expect(await echo(arrived, "ok", { action: "custom" })).toBe("ok");
    expect(await arrived.kinds()).toEqual(["connect", "custom"]);
  });

  test("2 a message whose action is no route's key goes to $default", async () => {
    const arrived = await connected(await openDesk());
    await echo(arrived, "ok", { action: "unknown" });
    expect(await arrived.kinds()).toEqual(["connect", "default"]);
  });

  test("2 the comparison is exact", async () => {
    const arrived = await connected(await openDesk());
    for (const action of ["Custom", "CUSTOM", "custom ", " custom", "custo", "customs"])
      await echo(arrived, "ok", { action });
    expect(await arrived.kinds()).not.toContain("custom");
  });

  test("2 the expression is asked once of each message, however many frames it has", async () => {
    const arrived = await connected(await openDesk());
    const text = '{"action":"custom","answer":{"body":"once"}}';
    for (const [index, character] of [...text].entries())
      arrived.client.socket.send(character, { fin: index === text.length - 1 });
    expect(await arrived.client.text()).toBe("once");
    expect(await arrived.kinds()).toEqual(["connect", "custom"]);
  });

  onDesk("2 a path leads into the message", "an expression of one's own", async () => {
    const desk = await selecting("$request.body.to.verb", ["send"]);
    expect(await routeOf(desk, { to: { verb: "send" }, verb: "other" })).toBe("send");
  });

  onDesk("2 a path leads into a list", "an expression of one's own", async () => {
    const desk = await selecting("$request.body.to[1].verb", ["send"]);
    expect(await routeOf(desk, { to: [{ verb: "other" }, { verb: "send" }] })).toBe("send");
  });

  onDesk("2 several parts are joined with text between them", "an expression of one's own", async () => {
    const desk = await selecting("${request.body.service}/${request.body.action}", ["chat/send"]);
    expect(await routeOf(desk, { service: "chat", action: "send" })).toBe("chat/send");
    expect(await routeOf(desk, { service: "chat", action: "leave" })).toBe("$default");
  });

  onDesk("2 a part that is missing is an empty text", "an expression of one's own", async () => {
    const desk = await selecting("${request.body.action}-${request.body.nope}", ["join-"]);
    expect(await routeOf(desk, { action: "join" })).toBe("join-");
  });

  onDesk(
    "2 a text alone sends every message to the route of that name",
    "an expression of one's own",
    async () => {
      const desk = await selecting("fixed", ["fixed", "other"]);
      expect(await routeOf(desk, { action: "other" })).toBe("fixed");
    },
  );

  onDesk("2 \\$default sends every message to $default", "an expression of one's own", async () => {
    const desk = await selecting("\\$default", ["send"]);
    expect(await routeOf(desk, { action: "send" })).toBe("$default");
  });

  for (const [value, key] of [
    [7, "7"],
    [1.5, "1.5"],
    [true, "true"],
    [false, "false"],
  ] as const) {
    onDesk(`2 ${value} in a message is its JSON text`, "an expression of one's own", async () => {
      expect(await routeOf(await selecting("$request.body.action", [key]), { action: value })).toBe(key);
    });
  }

  onDesk("2 a list in a message is [item1, item2]", "an expression of one's own", async () => {
    const desk = await selecting("$request.body.action", ["[a, 1]"]);
    expect(await routeOf(desk, { action: ["a", 1] })).toBe("[a, 1]");
  });

  test("2 text that is no JSON goes to $default", async () => {
    const arrived = await connected(await openDesk());
    for (const text of ["custom", "", "{", "custom()"]) arrived.client.socket.send(text);
    await arrived.called("default", 4);
    expect(await arrived.kinds()).not.toContain("custom");
  });

  test("2 JSON that is no object goes to $default", async () => {
    const arrived = await connected(await openDesk());
    for (const text of ['"custom"', '["custom"]', "7", "null"]) arrived.client.socket.send(text);
    await arrived.called("default", 4);
    expect(await arrived.kinds()).not.toContain("custom");
  });

  onDesk(
    "2 a value that is nested too deeply to be made a text goes to $default",
    "a gateway that nobody else uses",
    async () => {
      const arrived = await connected(await openDesk({}));
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

  test("§9.24 JSON is read strictly, so a key without quotes goes to $default", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.send('{"action":"custom", body:"hello"}');
    await arrived.called("default");
    expect(await arrived.kinds()).toEqual(["connect", "default"]);
  });

  test.each(["$connect", "$disconnect", "$default"])(
    "§9.25 a message that names %s selects nothing, and goes to $default",
    async (action) => {
      const arrived = await connected(await openDesk());
      await echo(arrived, "ok", { action });
      expect(await arrived.kinds()).toEqual(["connect", "default"]);
      expect(headerOf(await arrived.called("default"), "x-sallyport-route-key")).toBe("$default");
    },
  );

  for (const action of ["nothing", "$connect", "$disconnect", "$default"]) {
    onDesk(
      `2 where there is no $default, a message that names ${action} gets the Forbidden frame`,
      "an API without $default",
      async () => {
        const arrived = await connected(await selecting("$request.body.action", ["send"], false));
        say(arrived, { body: "unheard" }, { action });
        expectErrorFrame(await arrived.client.text(), "Forbidden", await idOf(arrived));
        expect(await arrived.kinds()).toEqual(["connect"]);
      },
    );
  }

  onDesk("2 after a Forbidden frame the socket stays open", "an API without $default", async () => {
    const arrived = await connected(await selecting("$request.body.action", ["send"], false));
    arrived.client.socket.send("no JSON");
    expectErrorFrame(await arrived.client.text(), "Forbidden", await idOf(arrived));
    expect(await echo(arrived, "here", { action: "send" })).toBe("here");
  });

  onDesk("2 a route that is not deployed yet is forbidden as well", "a deployment", async () => {
    const backend = await openBackend();
    const deployed = { $connect: route(backend, "connect"), old: route(backend, "old") };
    const desk = await openDesk({ apis: [{ routes: deployed, stages: { dev: {} } }] }, backend);
    const arrived = await connected(desk);
    say(arrived, {}, { action: "new" });
    expectErrorFrame(await arrived.client.text(), "Forbidden", await idOf(arrived));
    desk.local.deploy({ routes: { ...deployed, new: route(backend, "new", { routeResponse: true }) } });
    expect(await echo(arrived, "deployed", { action: "new" })).toBe("deployed");
  });

  for (const key of ["$other", "$send", ""]) {
    onDesk(`2 ${JSON.stringify(key)} is no route key`, "an API of one's own", async () => {
      const desk = await openDesk({});
      const deploying = () => desk.local.deploy({ routes: { [key]: route(desk.backend, "other") } });
      expect(deploying).toThrow(/is not a route key/);
    });
  }

  test("2 a binary message closes the socket with 1003, and no integration is called", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.send(Buffer.from('{"action":"custom"}'));
    expect((await arrived.client.closed).code).toBe(1003);
    expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe("1003");
    expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
  });

  test("2 so does an empty one", async () => {
    const arrived = await connected(await openDesk());
    write(arrived, frameOf("", { opcode: 2 }));
    expect((await arrived.client.closed).code).toBe(1003);
  });
});
