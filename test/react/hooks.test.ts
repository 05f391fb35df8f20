import { parseHTML } from "linkedom";
import { createElement, type ReactNode, StrictMode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { createSallyportReact, type SallyportProviderProps } from "../../src/react/react.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { chat } from "../integration/chat.ts";
import { ORIGIN, World } from "../integration/world.ts";

type RoomMessage =
  | { readonly type: "said"; readonly text: string }
  | { readonly type: "removed"; readonly id: string };

class RoomView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  say = handler({ body: z.object({ text: z.string() }) }, async ({ body, connection, to }) => {
    const message: RoomMessage = { type: "said", text: body.text };
    await to({ channel: connection.channel ?? "rooms/a" }).send(message);
    return body.text.length;
  });
  remove = handler({ permissionsRequired: [chat.can_moderate_chat] }, () => undefined);
}

const { SallyportProvider, useSocket, useCall, useMessages } = createSallyportReact<RoomView, RoomMessage>();

/** The page. React reads it also after a root was removed, so each test uses the same one. */
const page = parseHTML("<!doctype html><html><body></body></html>");
vi.stubGlobal("window", page.window);
vi.stubGlobal("document", page.document);

let world: World;
let root: Root;
let container: { textContent: string | null };
let tokens: number;
beforeEach(async () => {
  container = page.document.createElement("div");
  root = createRoot(container as never);
  tokens = 0;
  const room = defineChannel("rooms/:room", { permissionsRequired: [chat.can_use_chat] });
  world = await World.open({ permissions: [chat], channels: [room], views: { "/ws/room": RoomView } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  root.unmount();
  await world.close();
});

/** Renders a component below a provider that connects as ann. */
function render(
  child: ReactNode,
  props: Partial<SallyportProviderProps> = {},
  isStrict = false,
): Promise<void> {
  const provider = createElement(
    SallyportProvider,
    {
      url: world.gateway.url,
      token: () => {
        tokens++;
        return world.token("ann");
      },
      channel: "rooms/a",
      backoff: { baseMs: 1, maxMs: 1 },
      WebSocket: class extends WebSocket {
        constructor(url: string) {
          super(url, { headers: { origin: ORIGIN, cookie: "login=ann:login-of-ann" } });
        }
      },
      ...props,
    },
    child,
  );
  root.render(isStrict ? createElement(StrictMode, null, provider) : provider);
}

const shown = (text: string | RegExp) => expect.poll(() => container.textContent).toMatch(text);

let latest: ReturnType<typeof useSocket>;
function Status() {
  latest = useSocket();
  const { state, denial } = latest;
  return denial ? `${state}: ${denial.kind} ${denial.status} ${denial.error}` : state;
}

describe("useSocket()", () => {
  test("returns the state, and reports a revocation and a denial differently", async () => {
    render(createElement(Status));
    await shown(/^connecting$/);
    await shown(/^open$/);
    await world.sallyport.access.revoke("ann", chat.can_use_chat);
    await shown("denied: revoked 403 Your access has ended.");
    const { reference = "" } = latest.denial ?? {};
    expect(await world.sallyport.access.explain(reference)).toMatchObject({ event: "revocation" });
    latest.reconnect();
    await expect.poll(() => latest.denial?.kind).not.toBe("revoked");
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    latest.reconnect();
    await shown(/^open$/);
    expect(latest.denial).toBeUndefined();
  });

  test("reports a denial of the token endpoint, with its reference", async () => {
    await world.sallyport.access.revoke("ann", chat.can_use_chat);
    const fetched: typeof fetch = () => world.requestToken("ann", { view: "/ws/room" });
    render(createElement(Status), { token: "/api/ws-token", view: "/ws/room", fetch: fetched });
    await shown("denied: denied 403 Permission denied.");
    expect(latest.denial?.reference).toMatch(/^[0-9a-f]{12}$/);
  });

  test("opens one connection in strict mode, and closes it when the provider is removed", async () => {
    render(createElement(Status), {}, true);
    await shown(/^open$/);
    expect(tokens).toBe(1);
    expect(await world.sallyport.listConnections()).toHaveLength(1);
    root.render(null);
    await expect.poll(() => world.sallyport.listConnections()).toEqual([]);
  });

  test("keeps the connection when another function is passed, and opens another one for a new view", async () => {
    render(createElement(Status));
    await shown(/^open$/);
    const [first] = await world.sallyport.listConnections();
    render(createElement(Status));
    expect(await world.sallyport.listConnections()).toMatchObject([{ connection: first?.connection }]);
    render(createElement(Status), { channel: "rooms/b" });
    await expect
      .poll(async () => (await world.sallyport.listConnections()).map(({ channels }) => channels))
      .toEqual([["rooms/b"]]);
    await shown(/^open$/);
  });

  test("renders on a server without a connection", () => {
    const html = renderToString(
      createElement(SallyportProvider, { url: world.gateway.url }, createElement(Status)),
    );
    expect(html).toBe("connecting");
    expect(tokens).toBe(0);
  });

  test("passes an error of connect() to the error boundary of the app", async () => {
    const errors: unknown[] = [];
    const own = createRoot(document.createElement("div"), { onUncaughtError: (error) => errors.push(error) });
    own.render(createElement(SallyportProvider, { url: "http://wrong" }, createElement(Status)));
    await expect.poll(() => String(errors[0])).toContain("must be a string that begins with wss:// or ws://");
  });

  test("outside of the provider is an error that says what to do", () => {
    expect(() => renderToString(createElement(Status))).toThrow(
      /Use it in a component below the SallyportProvider/,
    );
  });
});

describe("useCall()", () => {
  let rendered: string[];
  let say: ReturnType<typeof useCall<"say">>;
  let remove: ReturnType<typeof useCall<"remove">>;
  function Calls() {
    say = useCall("say");
    remove = useCall("remove");
    const text = `${say.isPending ? "sending" : "idle"} ${remove.error?.message ?? "no error"}`;
    rendered.push(text);
    return text;
  }

  test("waits for the connection, returns the result, and shows whether a call is in flight", async () => {
    rendered = [];
    render(createElement(Calls));
    await shown("idle no error");
    const result = say.call({ text: "hello" });
    await expect.poll(() => container.textContent).toBe("idle no error");
    expect(await result).toBe(5);
    await shown("idle no error");
    expect(rendered).toContain("sending no error");
  });

  test("rejects and shows the error of a denied call, until the next call", async () => {
    rendered = [];
    render(createElement(Calls));
    await shown("idle no error");
    await expect(remove.call()).rejects.toMatchObject({ status: 403 });
    await shown("idle Permission denied.");
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    await remove.call();
    await shown("idle no error");
  });
});

describe("useMessages()", () => {
  test("calls the function of the last render for each message of the type", async () => {
    const received: string[] = [];
    function Messages({ prefix }: { readonly prefix: string }) {
      useMessages("said", ({ text }) => received.push(`${prefix}${text}`));
      useMessages("removed", ({ id }) => received.push(id));
      return createElement(Status);
    }
    render(createElement(Messages, { prefix: "1 " }), {}, true);
    await shown(/^open$/);
    const to = world.sallyport.to({ channel: "rooms/a" });
    await to.send({ type: "said", text: "hello" });
    await to.send({ type: "other" });
    await to.send({ type: "removed", id: "7" });
    await expect.poll(() => received).toEqual(["1 hello", "7"]);
    render(createElement(Messages, { prefix: "2 " }), {}, true);
    await to.send({ type: "said", text: "again" });
    await expect.poll(() => received.at(-1)).toBe("2 again");
    render(createElement(Status), {}, true);
    await to.send({ type: "said", text: "ignored" });
    await shown(/^open$/);
    expect(received).toHaveLength(3);
  });
});
