import { createElement, Fragment, useEffect, useLayoutEffect } from "react";
import { renderToString } from "react-dom/server";
import { describe, expect, test } from "vitest";
import { chat } from "../integration/chat.ts";
import {
  container,
  ErrorBoundary,
  openChannels,
  printedErrors,
  provider,
  type RoomMessage,
  render,
  root,
  Status,
  shown,
  sockets,
  tokens,
  uncaughtError,
  useCall,
  useMessages,
  useSocket,
  world,
} from "./room.ts";

let latest: ReturnType<typeof useSocket>;
const states: string[] = [];
function Latest() {
  latest = useSocket();
  states.push(latest.state);
  return createElement(Status);
}

describe("SallyportProvider", () => {
  test("keeps the connection when a function changes, and uses the function for the next token", async () => {
    render(createElement(Latest));
    await shown(/^open$/);
    const [first] = await world.sallyport.listConnections();
    let ownTokens = 0;
    const token = () => {
      ownTokens++;
      return world.token("ann");
    };
    render([createElement(Latest, { key: "1" }), " again"], { token });
    await shown(/^open again$/);
    expect(await world.sallyport.listConnections()).toMatchObject([{ connection: first?.connection }]);
    latest.reconnect();
    await expect.poll(() => ownTokens).toBe(1);
    await shown(/^open again$/);
    expect(tokens).toBe(1);
  });

  test("joins another channel when the channel changes", async () => {
    render(createElement(Latest));
    await shown(/^open$/);
    const { socket } = latest;
    render(createElement(Latest), { channel: "rooms/b" });
    await expect.poll(openChannels).toEqual([["rooms/b"]]);
    await shown(/^open$/);
    expect(latest.socket).toBe(socket);
  });

  test.each([{ view: "/ws/room" }, { handlerKey: "name" }, { action: "chat" }])(
    "opens another connection for another option: %o",
    async (props) => {
      render(createElement(Latest));
      await shown(/^open$/);
      const { socket } = latest;
      render(createElement(Latest), props);
      await expect.poll(() => latest.socket).not.toBe(socket);
      await shown(/^open$/);
      expect(socket?.state).toBe("closed");
      await expect.poll(openChannels).toHaveLength(1);
    },
  );

  test("opens no WebSocket if it is removed while the token is requested", async () => {
    let answer: (token: string) => void = () => undefined;
    let isRequested = false;
    const token = () => {
      isRequested = true;
      return new Promise<string>((resolve) => {
        answer = resolve;
      });
    };
    render(createElement(Status), { token });
    await expect.poll(() => isRequested).toBe(true);
    root.render(null);
    await shown(/^$/);
    answer(await world.token("ann"));
    // A request takes longer than the client needs to create a WebSocket.
    await world.token("ann");
    expect(sockets).toEqual([]);
  });

  test("closes the WebSocket if it is removed during the handshake", async () => {
    render(createElement(Status));
    await expect.poll(() => sockets.length).toBe(1);
    root.render(null);
    await expect.poll(() => sockets[0]?.readyState).toBe(3);
    await expect.poll(openChannels).toEqual([]);
  });

  test("gives its own connection to the components below it, beside and within other providers", async () => {
    const Named = ({ name }: { readonly name: string }) => `${name} ${useSocket().socket?.channel} `;
    const named = (name: string) => createElement(Named, { key: name, name });
    root.render([
      createElement(Fragment, { key: "1" }, provider(named("left"), { channel: "rooms/a" })),
      createElement(
        Fragment,
        { key: "2" },
        provider(
          [
            named("right"),
            createElement(Fragment, { key: "3" }, provider(named("inner"), { channel: "rooms/c" })),
          ],
          { channel: "rooms/b" },
        ),
      ),
    ]);
    await shown("left rooms/a right rooms/b inner rooms/c");
    await expect.poll(openChannels).toEqual([["rooms/a"], ["rooms/b"], ["rooms/c"]]);
  });

  test("passes an error of connect() to the error boundary of the app", async () => {
    root.render(createElement(ErrorBoundary, null, provider(createElement(Status), { url: "http://wrong" })));
    await shown("error: connect(): ");
    expect(container.textContent).toContain("must be a string that begins with wss:// or ws://");
    // React prints each error that a boundary receives.
    expect(printedErrors()).toHaveLength(1);
  });
});

describe("useSocket()", () => {
  test("returns the state, and reports a revocation and a denial differently", async () => {
    states.length = 0;
    render(createElement(Latest));
    await shown(/^open$/);
    expect(new Set(states)).toEqual(new Set(["connecting", "open"]));
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
    render(createElement(Latest), { token: "/api/ws-token", view: "/ws/room", fetch: fetched });
    await shown("denied: denied 403 Permission denied.");
    expect(latest.denial?.reference).toMatch(/^[0-9a-f]{12}$/);
  });

  test("reports the loss of the channel, and joins it again when access returns", async () => {
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_moderate_chat);
    render(createElement(Latest), { channel: "rooms/staff" });
    await shown(/^open$/);
    await access.revoke("ann", chat.can_moderate_chat);
    await shown("open: revoked 403 Your access has ended.");
    expect(latest.denial?.scope).toBe("channel");
    expect(await openChannels()).toEqual([[]]);
    await access.grant("ann", chat.can_moderate_chat);
    await shown(/^open$/);
    await expect.poll(openChannels).toEqual([["rooms/staff"]]);
  });

  test("joins the channel again when access returns to a later connection", async () => {
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_moderate_chat);
    const fetched: typeof fetch = (_url, init) =>
      world.requestToken("ann", JSON.parse(String(init?.body)) as object);
    const accessCheck = { baseMs: 5, maxMs: 5 };
    const options = { token: "/api/ws-token", view: "/ws/room", fetch: fetched, accessCheck };
    render(createElement(Latest), { ...options, channel: "rooms/staff" });
    await shown(/^open$/);
    await access.revoke("ann", chat.can_moderate_chat);
    await shown("open: revoked 403 Your access has ended.");
    // Then the whole view is lost, and only the view returns.
    await access.revoke("ann", chat.can_use_chat);
    await shown("denied: revoked");
    await access.grant("ann", chat.can_use_chat);
    await shown("open: revoked");
    expect(latest.denial?.scope).toBe("channel");
    expect(await openChannels()).toEqual([[]]);
    // "Try again" keeps the connection.
    latest.reconnect();
    await expect.poll(openChannels).toEqual([[]]);
    expect(latest.state).toBe("open");
    await access.grant("ann", chat.can_moderate_chat);
    await shown(/^open$/);
    await expect.poll(openChannels).toEqual([["rooms/staff"]]);
  });

  test("connects again by itself when access returns", async () => {
    const fetched: typeof fetch = () => world.requestToken("ann", { view: "/ws/room" });
    const accessCheck = { baseMs: 5, maxMs: 5 };
    render(createElement(Latest), { token: "/api/ws-token", view: "/ws/room", fetch: fetched, accessCheck });
    await shown(/^open$/);
    await world.sallyport.access.revoke("ann", chat.can_use_chat);
    await shown("denied: revoked");
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await shown(/^open$/);
  });

  test("returns the same functions at each render, so effects can depend on them", async () => {
    let runs = 0;
    function Effects() {
      const { call, reconnect } = useSocket();
      const { call: say } = useCall("say");
      // biome-ignore lint/correctness/useExhaustiveDependencies: the effect counts its runs
      useEffect(() => void runs++, [call, call.say, reconnect, say]);
      return createElement(Latest);
    }
    render(createElement(Effects));
    await shown(/^open$/);
    render(createElement(Effects), { channel: "rooms/b" });
    await expect.poll(openChannels).toEqual([["rooms/b"]]);
    await latest.call.say({ text: "hello" });
    expect(runs).toBe(1);
  });

  test("outside of the provider is an error that says what to do", () => {
    expect(() => renderToString(createElement(Status))).toThrow(
      /Use it in a component below the SallyportProvider/,
    );
  });
});

describe("useCall()", () => {
  test("shows no error of the handler that the component called before", async () => {
    let called = {} as ReturnType<typeof useCall<"say" | "remove">>;
    function One({ name }: { readonly name: "say" | "remove" }) {
      called = useCall(name);
      return called.error ? called.error.message : "no error";
    }
    render(createElement(One, { name: "remove" }));
    await expect.poll(() => called.call).toBeDefined();
    await expect(called.call({} as never)).rejects.toThrow("Permission denied.");
    await shown("Permission denied.");
    render(createElement(One, { name: "say" }));
    await shown("no error");
    await called.call({ text: "hello" });
    render(createElement(One, { name: "remove" }));
    await shown("no error");
  });

  let rendered: string[];
  let say: ReturnType<typeof useCall<"say">>;
  let remove: ReturnType<typeof useCall<"remove">>;
  function Calls() {
    say = useCall("say");
    remove = useCall("remove");
    const isPending = say.isPending || remove.isPending;
    const text = `${isPending ? "sending" : "idle"} ${remove.error?.message ?? "no error"}`;
    rendered.push(text);
    return text;
  }

  test("waits for the connection, returns the result, and shows whether a call is in flight", async () => {
    rendered = [];
    render(createElement(Calls));
    await shown("idle no error");
    const result = say.call({ text: "hello" });
    await shown("idle no error");
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

  test("shows the error of a call also if another call succeeds after it", async () => {
    rendered = [];
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    render(createElement(Calls));
    await shown("idle no error");
    const aborted = remove.call({}, { signal: AbortSignal.abort(new Error("aborted")) });
    const succeeded = remove.call();
    await expect(aborted).rejects.toThrow("aborted");
    await succeeded;
    await shown("idle aborted");
  });

  test("rejects a call that waits when the provider is removed, and each later call", async () => {
    const calls: Promise<unknown>[] = [];
    function CallThenRemove() {
      say = useCall("say");
      useEffect(() => {
        const waiting = say.call({ text: "hello" });
        waiting.catch(() => undefined);
        calls.push(waiting);
        root.render(null);
      }, []);
      return "rendered";
    }
    render(createElement(CallThenRemove));
    await expect.poll(() => calls).toHaveLength(1);
    await shown(/^$/);
    const error = { name: "CallError", status: 0, sent: false };
    await expect(calls[0]).rejects.toMatchObject(error);
    await expect(say.call({ text: "late" })).rejects.toMatchObject(error);
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

  test("misses no message between the commit and the effects of a component", async () => {
    const received: string[] = [];
    function Messages({ type }: { readonly type: RoomMessage["type"] }) {
      useMessages(type, (message) => received.push(`${type} ${Object.values(message)[1]}`));
      return null;
    }
    function Page({ type }: { readonly type?: RoomMessage["type"] }) {
      // The effects of the components below run after a layout effect.
      // biome-ignore lint/correctness/useExhaustiveDependencies: the messages arrive at each change
      useLayoutEffect(() => {
        sockets[0]?.receive({ type: "said", text: "hello" });
        sockets[0]?.receive({ type: "removed", id: "7" });
      }, [type]);
      return [
        type && createElement(Messages, { key: "messages", type }),
        createElement(Status, { key: "status" }),
      ];
    }
    render(createElement(Page));
    await shown(/^open$/);
    render(createElement(Page, { type: "said" }));
    await expect.poll(() => received).toEqual(["said hello"]);
    render(createElement(Page, { type: "removed" }));
    await expect.poll(() => received).toEqual(["said hello", "removed 7"]);
  });

  test("calls the other functions if one throws, and the page receives the error", async () => {
    const received: string[] = [];
    function Throwing() {
      useMessages("said", () => {
        throw new Error("my own");
      });
      return null;
    }
    function Receiving() {
      useMessages("said", ({ text }) => received.push(text));
      return createElement(Status);
    }
    render([createElement(Throwing, { key: "1" }), createElement(Receiving, { key: "2" })]);
    await shown(/^open$/);
    const error = await uncaughtError(() => sockets[0]?.receive({ type: "said", text: "hello" }));
    expect(received).toEqual(["hello"]);
    expect(error).toMatchObject({ message: "my own" });
  });
});
