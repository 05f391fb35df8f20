import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import * as React from "react";
import { createElement, type ReactNode, Suspense, startTransition, useState } from "react";
import { hydrateRoot } from "react-dom/client";
import { renderToPipeableStream, renderToString } from "react-dom/server";
import { describe, expect, test } from "vitest";
import {
  type Container,
  openChannels,
  page,
  printedErrors,
  provider,
  render,
  root,
  Status,
  shown,
  sockets,
  tokens,
  useCall,
  useMessages,
  world,
} from "./room.ts";

/** React hides a component and keeps its state: version 19.2 and newer. */
const { Activity } = React as { Activity?: React.FunctionComponent<{ mode: string; children: ReactNode }> };

/** A value that a component waits for, as the cache of a router or a query library holds it. */
class Pending {
  #isReady = false;
  #resolve: () => void = () => undefined;
  readonly #promise = new Promise<void>((resolve) => {
    this.#resolve = resolve;
  });

  /** Suspends the component that calls it, until {@link resolve} was called. */
  readonly read = (): void => {
    if (!this.#isReady) throw this.#promise;
  };

  resolve(): void {
    this.#isReady = true;
    this.#resolve();
  }
}

function Waiting({ pending, children }: { readonly pending: Pending; readonly children?: ReactNode }) {
  pending.read();
  return children;
}

describe("in strict mode", () => {
  test("one connection is opened, and it is closed when the provider is removed", async () => {
    render(createElement(Status), {}, true);
    await shown(/^open$/);
    expect(tokens).toBe(1);
    expect(await openChannels()).toHaveLength(1);
    root.render(null);
    await expect.poll(openChannels).toEqual([]);
  });

  test("a call of an effect is sent once for each run of the effect", async () => {
    const results: unknown[] = [];
    function CallsAtOnce() {
      const { call } = useCall("say");
      React.useEffect(() => {
        call({ text: "hello" }).then((result) => results.push(result));
      }, [call]);
      return createElement(Status);
    }
    render(createElement(CallsAtOnce), {}, true);
    await expect.poll(() => results).toEqual([5, 5]);
    expect(tokens).toBe(1);
  });
});

describe("on a server", () => {
  test("the page is rendered without a connection", () => {
    expect(renderToString(provider(createElement(Status)))).toBe("connecting");
    expect([tokens, sockets]).toEqual([0, []]);
  });

  test("a streamed page is rendered without a connection", async () => {
    const pending = new Pending();
    const waiting = createElement(Waiting, { pending }, createElement(Status));
    const html = streamed(provider(createElement(Suspense, { fallback: "loading" }, waiting)), () =>
      pending.resolve(),
    );
    expect(await html).toContain("connecting");
    expect([tokens, sockets]).toEqual([0, []]);
  });

  test("a component that the page hydrates after the connection opened begins as the server rendered it", async () => {
    const pending = new Pending();
    const app = (child: ReactNode) =>
      provider([
        createElement("i", { key: "1" }, createElement(Status)),
        createElement(Suspense, { key: "2", fallback: "loading" }, createElement("b", null, child)),
      ]);
    const element: Container = page.document.createElement("div");
    element.innerHTML = await streamed(app(createElement(Status)));
    expect(element.textContent).toContain("connectingconnecting");
    const errors: unknown[] = [];
    const waiting = createElement(Waiting, { pending }, createElement(Status));
    const hydrated = hydrateRoot(element as never, app(waiting), {
      onRecoverableError: (error) => errors.push(error),
    });
    await shown("openconnecting", element);
    pending.resolve();
    await shown("openopen", element);
    hydrated.unmount();
    expect(errors).toEqual([]);
  });
});

/**
 * Renders a page as a server does.
 *
 * @param onShell called when the page is written except for the components that wait
 */
function streamed(element: ReactNode, onShell?: () => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const written = new PassThrough();
    const { pipe } = renderToPipeableStream(element, {
      onError: reject,
      onShellReady: () => {
        resolve(text(pipe(written)));
        onShell?.();
      },
    });
  });
}

describe("a render that React throws away", () => {
  test("opens no connection while the provider is suspended", async () => {
    const pending = new Pending();
    const child = createElement(Waiting, { pending }, createElement(Status));
    root.render(createElement(Suspense, { fallback: "loading" }, provider(child)));
    await shown(/^loading$/);
    // A request takes longer than a provider needs to open a connection.
    await world.token("ann");
    expect([tokens, sockets]).toEqual([0, []]);
    pending.resolve();
    await shown(/^open$/);
    expect(tokens).toBe(1);
  });

  test("does not change the connection", async () => {
    const pending = new Pending();
    const received: string[] = [];
    function Messages({ prefix, children }: { readonly prefix: string; readonly children?: ReactNode }) {
      useMessages("said", ({ text }) => received.push(`${prefix} ${text}`));
      return children;
    }
    const app = (prefix: string, channel: string, child: ReactNode) =>
      createElement(
        Suspense,
        { fallback: "loading" },
        provider(createElement(Messages, { prefix }, createElement(Status), child), { channel }),
      );
    root.render(app("first", "rooms/a", null));
    await shown(/^open$/);
    startTransition(() => root.render(app("second", "rooms/b", createElement(Waiting, { pending }))));
    // React renders within this request.
    await world.token("ann");
    expect(await openChannels()).toEqual([["rooms/a"]]);
    sockets[0]?.receive({ type: "said", text: "hello" });
    expect(received).toEqual(["first hello"]);
    pending.resolve();
    await expect.poll(openChannels).toEqual([["rooms/b"]]);
  });
});

test("a component that suspends again keeps its connection and receives messages", async () => {
  const received: string[] = [];
  let suspend: (pending: Pending | undefined) => void = () => undefined;
  function Messages() {
    const [pending, setPending] = useState<Pending>();
    suspend = setPending;
    useMessages("said", ({ text }) => received.push(text));
    pending?.read();
    return createElement(Status);
  }
  render(createElement(Suspense, { fallback: "loading" }, createElement(Messages)));
  await shown(/^open$/);
  const pending = new Pending();
  suspend(pending);
  await shown("loading");
  sockets[0]?.receive({ type: "said", text: "hello" });
  expect(received).toEqual(["hello"]);
  pending.resolve();
  await shown(/^open$/);
  expect(tokens).toBe(1);
});

describe.skipIf(!Activity)("a component that React hides (it exists in React 19.2 and newer)", () => {
  const received: string[] = [];
  let remove: ReturnType<typeof useCall<"remove">>;
  function Room() {
    remove = useCall("remove");
    useMessages("said", ({ text }) => received.push(text));
    return [createElement(Status, { key: "status" }), remove.isPending ? " pending" : " idle"];
  }
  const activity = (mode: string, child: ReactNode) =>
    createElement(Activity ?? Suspense, { mode } as never, child);

  test("receives no messages until it is shown again, and sees the end of its calls", async () => {
    render(activity("visible", createElement(Room)));
    await shown("open idle");
    const call = remove.call().catch(({ status }) => status);
    render(activity("hidden", createElement(Room)));
    expect(await call).toBe(403);
    await world.sallyport.to({ channel: "rooms/a" }).send({ type: "said", text: "hidden" });
    render(activity("visible", createElement(Room)));
    await shown("open idle");
    await world.sallyport.to({ channel: "rooms/a" }).send({ type: "said", text: "visible" });
    await expect.poll(() => received).toEqual(["visible"]);
  });

  test("closes the connection of a hidden provider, and opens it when the provider is shown", async () => {
    root.render(activity("visible", provider(createElement(Room))));
    await shown("open idle");
    root.render(activity("hidden", provider(createElement(Room))));
    await expect.poll(openChannels).toEqual([]);
    root.render(activity("visible", provider(createElement(Room))));
    await shown("open idle");
    await expect.poll(openChannels).toHaveLength(1);
    expect(printedErrors()).toEqual([]);
  });
});
