import { parseHTML } from "linkedom";
import { Component, createElement, type ReactNode, StrictMode, version } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, type MockInstance, vi } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { createSallyportReact, type SallyportProviderProps } from "../../src/react/react.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { chat } from "../integration/chat.ts";
import { ORIGIN, World } from "../integration/world.ts";

// The matrix runs these tests with other versions of React.
if (!version.startsWith(process.env.REACT_VERSION ?? "19.")) throw new Error(`React is ${version}.`);

export type RoomMessage =
  | { readonly type: "said"; readonly text: string }
  | { readonly type: "removed"; readonly id: string };

export class RoomView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  say = handler({ body: z.object({ text: z.string() }) }, async ({ body, connection, to }) => {
    const message: RoomMessage = { type: "said", text: body.text };
    await to({ channel: connection.channel ?? "rooms/a" }).send(message);
    return body.text.length;
  });
  remove = handler({ permissionsRequired: [chat.can_moderate_chat] }, () => undefined);
}

export const { SallyportProvider, useSocket, useCall, useMessages } = createSallyportReact<
  RoomView,
  RoomMessage
>();

/** The page. React reads it also after a root was removed, so the tests of a file use the same one. */
export const page = parseHTML("<!doctype html><html><body></body></html>");
vi.stubGlobal("window", page.window);
vi.stubGlobal("document", page.document);

/** A WebSocket as the page of ann opens it. */
export class PageSocket extends WebSocket {
  constructor(url: string) {
    super(url, { headers: { origin: ORIGIN, cookie: "login=ann:login-of-ann" } });
    sockets.push(this);
  }

  /** Receives a message now, within the task of the caller. */
  receive(message: RoomMessage): void {
    this.emit("message", Buffer.from(JSON.stringify(message)), false);
  }
}

export type Container = { textContent: string | null; innerHTML: string };

/** An app with one user, ann, who has the permission of the view. */
export let world: World;
/** The root of the page, and its element. */
export let root: Root;
export let container: Container;
/** The WebSockets that the page opened, and the number of tokens that it requested. */
export let sockets: PageSocket[];
export let tokens: number;
let warnings: MockInstance;
/** React warns that a context is used by the renderers of a server and of a page, which are one process here. */
const SERVER_AND_PAGE = "Detected multiple renderers concurrently rendering the same context provider";
beforeEach(async () => {
  container = page.document.createElement("div");
  root = createRoot(container as never);
  sockets = [];
  tokens = 0;
  warnings = vi.spyOn(console, "error").mockImplementation(() => undefined);
  const room = defineChannel("rooms/:room", { permissionsRequired: [chat.can_use_chat] });
  const staff = defineChannel("rooms/staff", { permissionsRequired: [chat.can_moderate_chat] });
  world = await World.open({ permissions: [chat], channels: [room, staff], views: { "/ws/room": RoomView } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  root.unmount();
  await world.close();
  // React warns about wrong hooks and about a page that differs from the one of the server.
  expect(printedErrors()).toEqual([]);
  warnings.mockRestore();
});

/** Returns a provider that connects as ann. */
export function provider(child: ReactNode, props: Partial<SallyportProviderProps> = {}): ReactNode {
  const options: SallyportProviderProps = {
    url: world.gateway.url,
    token: () => {
      tokens++;
      return world.token("ann");
    },
    channel: "rooms/a",
    backoff: { baseMs: 1, maxMs: 1 },
    WebSocket: PageSocket,
    ...props,
  };
  return createElement(SallyportProvider, options, child);
}

/** Renders a component below a provider that connects as ann. */
export function render(
  child: ReactNode,
  props: Partial<SallyportProviderProps> = {},
  isStrict = false,
): void {
  const element = provider(child, props);
  root.render(isStrict ? createElement(StrictMode, null, element) : element);
}

/** Waits until the page contains a text. */
export const shown = (text: string | RegExp, element = container) =>
  expect.poll(() => element.textContent).toMatch(text);

/** Returns the channels of each open connection. */
export async function openChannels(): Promise<readonly (readonly string[])[]> {
  return (await world.sallyport.listConnections()).map(({ channels }) => channels).sort();
}

/** Shows the state of the connection. */
export function Status() {
  const { state, denial } = useSocket();
  return denial ? `${state}: ${denial.kind} ${denial.status} ${denial.error}` : state;
}

/** Shows the error of its children. */
export class ErrorBoundary extends Component<{ readonly children?: ReactNode }, { readonly error?: Error }> {
  override state: { readonly error?: Error } = {};

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    return this.state.error ? `error: ${this.state.error.message}` : this.props.children;
  }
}

/** Returns the errors and warnings that React printed, and expects no further ones. */
export function printedErrors(): readonly string[] {
  const printed = warnings.mock.calls.map((values) => values.map(String).join(" "));
  warnings.mockClear();
  return printed.filter((line) => !line.includes(SERVER_AND_PAGE));
}

/** Runs a function, and returns the error that the page receives. */
export async function uncaughtError(run: () => void): Promise<Error | undefined> {
  const thrown: Error[] = [];
  const before = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => thrown.push(error));
  run();
  await expect.poll(() => thrown).toHaveLength(1);
  process.removeAllListeners("uncaughtException");
  for (const listener of before) process.on("uncaughtException", listener);
  return thrown[0];
}
