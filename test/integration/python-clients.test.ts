import { afterEach, beforeEach, expect, test } from "vitest";
import WebSocket from "ws";
import { defineChannel } from "../../src/views/channel.ts";
import { changeChannel, handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { chat } from "./chat.ts";
import { ORIGIN, World } from "./world.ts";

/** Responds like a view of the Python package, for the clients that its documentation shows. */
class CompatibleView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  static override defaultChannel = "room_lobby";
  send_message = handler(async ({ body, connection, to }) => {
    await to({ channel: connection.channel ?? "" }).send({ type: "chat_message", message: body.message });
  });
  fetch_history = handler(({ connection }) => ({
    type: "history",
    channel: connection.channel,
    messages: [],
  }));
  default = handler(() => ({ type: "default" }));
  change_channel = changeChannel();
}

let world: World;
beforeEach(async () => {
  world = await World.open({
    permissions: [chat],
    channels: [defineChannel("room_:id", { permissionsRequired: [chat.can_use_chat] })],
    views: { "/ws/chat": CompatibleView },
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  await world.close();
  expect(world.errors).toEqual([]);
});

const HEADERS = { cookie: "login=ann:login-of-ann", origin: ORIGIN };

/** F80: requests a token by POST with X-CSRFToken, and throws unless the response is ok. */
async function getToken(): Promise<string> {
  const response = await fetch(`${world.appUrl}/api/ws-token`, {
    method: "POST",
    headers: { ...HEADERS, "X-CSRFToken": "abc", "Content-Type": "application/json" },
  });
  if (!response.ok) throw new Error("Could not get WebSocket token");
  const data = (await response.json()) as { token: string; expires_in: number };
  expect(data.expires_in).toBe(60);
  return data.token;
}

/** F78 F79 F81: opens a socket with four callbacks, and with token and channel in the URL. */
async function basicSocket(channel: string) {
  const token = await getToken();
  const url = `${world.gateway.url}?ws_token=${encodeURIComponent(token)}&channel=${encodeURIComponent(channel)}`;
  const socket = new WebSocket(url, { headers: HEADERS });
  const seen: Record<string, unknown>[] = [];
  const closed = new Promise<number>((resolve) => {
    socket.onclose = (event) => resolve(event.code);
  });
  socket.onmessage = (event) => seen.push(JSON.parse(String(event.data)));
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = (event) => reject(event.error);
  });
  return { socket, seen, closed };
}

test("F78–F84 a basic client fetches a token, sends by action or handler and receives by type", async () => {
  const { socket, seen } = await basicSocket("room_1");
  socket.send(JSON.stringify({ action: "send_message", message: "by action" }));
  await expect.poll(() => seen.filter((frame) => frame.type === "chat_message")).toHaveLength(1);
  socket.send(JSON.stringify({ action: "default", handler: "send_message", message: "by handler" }));
  await expect.poll(() => seen.filter((frame) => frame.type === "chat_message")).toHaveLength(2);
  socket.send(JSON.stringify({ action: "default" }));
  await expect.poll(() => seen.filter((frame) => frame.type === "default")).toHaveLength(1);
  expect(seen).toContainEqual({});
  socket.close();
});

test("F85 a client changes its channel by reconnecting with a new token", async () => {
  const first = await basicSocket("room_1");
  first.socket.close(1000);
  expect(await first.closed).toBe(1000);
  const second = await basicSocket("room_2");
  second.socket.send(JSON.stringify({ handler: "fetch_history" }));
  await expect.poll(() => second.seen).toContainEqual({ type: "history", channel: "room_2", messages: [] });
  second.socket.close();
});

test("B69 F86 a client changes its channel on the open connection and then fetches its history", async () => {
  const { socket, seen } = await basicSocket("");
  socket.send(JSON.stringify({ handler: "fetch_history" }));
  await expect.poll(() => seen).toContainEqual({ type: "history", channel: "room_lobby", messages: [] });
  socket.send(JSON.stringify({ handler: "change_channel", channel: "room_2" }));
  await expect.poll(() => seen).toContainEqual({ ok: true, channel: "room_2" });
  socket.send(JSON.stringify({ handler: "fetch_history" }));
  await expect.poll(() => seen).toContainEqual({ type: "history", channel: "room_2", messages: [] });
  socket.close();
});
