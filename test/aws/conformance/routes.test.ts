import { describe, expect, test } from "vitest";
import { connected, type Desk, onDesk, openBackend, openDesk, say } from "./desk.ts";

/** A desk whose API selects by an expression, with routes of one's own and perhaps no `$default`. */
async function selecting(expression: string, keys: readonly string[], hasDefault = true): Promise<Desk> {
  const backend = await openBackend();
  const requestParameters = { "integration.request.header.connectionId": "context.connectionId" };
  const route = (path: string) => ({
    integration: { type: "HTTP_PROXY" as const, uri: `${backend.origin}/ws/${path}`, requestParameters },
    routeResponse: true,
  });
  const own = keys.map((key, index) => [key, route(`custom${index}`)] as const);
  const routes = {
    $connect: route("connect"),
    ...(hasDefault ? { $default: route("default") } : {}),
    ...Object.fromEntries(own),
  };
  const desk = await openDesk({
    apis: [{ routeSelectionExpression: expression, routes, stages: { dev: {} } }],
  });
  return { ...desk, backend: backend.origin };
}

describe("2 route selection", () => {
  test("2 a message whose action is a route's key goes there, and any other to $default", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, { body: "custom" }, { action: "custom" });
    await arrived.called("custom");
    for (const action of ["Custom", "custom ", "", 7, null]) say(arrived, {}, { action });
    await arrived.called("default", 5);
    expect((await arrived.calls()).filter(({ kind }) => kind === "custom")).toHaveLength(1);
  });

  test("2, §9.24 text that is not JSON, strictly, goes to $default", async () => {
    const arrived = await connected(await openDesk());
    for (const text of ["hello", "", '{"action":"custom", body:"hello"}', '["custom"]'])
      arrived.client.socket.send(text);
    await arrived.called("default", 4);
    expect((await arrived.calls()).filter(({ kind }) => kind === "custom")).toEqual([]);
  });

  test("2, §9.25 nobody reaches $connect, $disconnect or $default by naming them", async () => {
    const arrived = await connected(await openDesk());
    for (const action of ["$connect", "$disconnect", "$default"]) say(arrived, { body: "ok" }, { action });
    await arrived.called("default", 3);
    expect((await arrived.calls()).map(({ kind }) => kind)).toEqual([
      "connect",
      "default",
      "default",
      "default",
    ]);
  });

  onDesk("2 several parts of a message may be joined, and a missing one is empty text", async () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the syntax of these expressions
    const desk = await selecting("${request.body.service}/${request.body.action}", ["chat/send", "chat/"]);
    const arrived = await connected(desk);
    say(arrived, {}, { service: "chat", action: "send" });
    await arrived.called("custom0");
    say(arrived, {}, { service: "chat" });
    await arrived.called("custom1");
    say(arrived, {}, { service: "chat", action: "leave" });
    await arrived.called("default");
  });

  onDesk(
    "2 a message that selects nothing where there is no $default gets AWS's Forbidden frame, and the socket stays",
    async () => {
      const desk = await selecting("$request.body.action", ["send"], false);
      const arrived = await connected(desk);
      arrived.client.socket.send('{"action":"nothing"}');
      expect(await arrived.client.text()).toMatch(
        /^\{"message": "Forbidden", "connectionId":"[A-Za-z0-9_-]{15}=", "requestId":"[A-Za-z0-9_-]{15}="\}$/,
      );
      say(arrived, { body: "here" }, { action: "send" });
      expect(await arrived.client.text()).toBe("here");
      expect((await arrived.calls()).map(({ kind }) => kind)).toEqual(["connect", "custom0"]);
    },
  );

  test("2 a binary frame closes the socket with 1003", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.send(Buffer.from([1, 2, 3]));
    expect((await arrived.client.closed).code).toBe(1003);
    expect((await arrived.calls()).filter(({ kind }) => kind === "default")).toEqual([]);
  });
});
