import { afterEach, beforeEach, expect, test } from "vitest";
import { handler, WebSocketView } from "../../src/index.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { statusOf, World } from "./world.ts";

/** Adds connections without a channel to a default channel. */
class LoungeView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  static override defaultChannel = "rooms/lounge";
  whoami = handler(({ connection }) => ({ channels: connection.channels }));
}

const CHAT = "/ws/chat";
const LOUNGE = "/ws/lounge";
let world: World;

async function open(gatewayView: string): Promise<void> {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { [CHAT]: ChatView, [LOUNGE]: LoungeView },
    gatewayView,
    limits: { failedConnectsPerIp: 0 },
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
}
beforeEach(() => open(CHAT));
afterEach(() => world.close());

/** Connects ann with a token that was requested with `body`, and returns the status. */
async function statusWith(body: object, channel?: string): Promise<number> {
  const token = await world.token("ann", body);
  return statusOf(world.connect("ann", { token, ...(channel === undefined ? {} : { channel }) }));
}

test("a token that was requested without a view and a channel is accepted for any channel", async () => {
  expect([await statusWith({}), await statusWith({}, "rooms/general")]).toEqual([101, 101]);
  expect(await statusWith({ channel: "" }, "rooms/general")).toBe(101);
});

test("a token that was requested with a view is accepted there for any permitted channel", async () => {
  expect(await statusWith({ view: CHAT })).toBe(101);
  expect(await statusWith({ view: CHAT }, "rooms/general")).toBe(101);
  expect(await statusWith({ view: CHAT }, "rooms/moderators")).toBe(403);
  expect(world.decisions.at(-1)).toMatchObject({ reason: "permission" });
});

test("B12 a token that was requested with a view is denied and spent at another view", async () => {
  const token = await world.token("ann", { view: LOUNGE });
  await expect(world.connect("ann", { token })).rejects.toMatchObject({ status: 403 });
  expect(world.decisions.at(-1)).toMatchObject({
    event: "connect",
    reason: "token-scope",
    userId: "ann",
    message:
      "The token was requested for view /ws/lounge, but is used for view /ws/chat without a channel. Use the WebSocket URL of view /ws/lounge, or request a token for view /ws/chat.",
  });
  await expect(world.connect("ann", { token })).rejects.toMatchObject({ status: 429 });
  expect(await world.sql("select 1 from sallyport_tokens where spent_at is null")).toEqual([]);
});

test("B12 a token that was requested with a channel is accepted for this channel only", async () => {
  expect(await statusWith({ channel: "rooms/general" }, "rooms/general")).toBe(101);
  for (const used of [undefined, "rooms/other", "announcements"]) {
    expect(await statusWith({ channel: "rooms/general" }, used), used).toBe(403);
    expect(world.decisions.at(-1), used).toMatchObject({ reason: "token-scope" });
  }
});

test("a token that was requested with both is accepted for this view and channel only", async () => {
  expect(await statusWith({ view: CHAT, channel: "rooms/general" }, "rooms/general")).toBe(101);
  const wrong: [object, string | undefined][] = [
    [{ view: CHAT, channel: "rooms/general" }, undefined],
    [{ view: CHAT, channel: "rooms/general" }, "rooms/other"],
    [{ view: LOUNGE, channel: "rooms/general" }, "rooms/general"],
  ];
  for (const [body, used] of wrong) {
    expect(await statusWith(body, used), JSON.stringify([body, used])).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "token-scope", status: 403 });
  }
});

test("a connect without a channel uses the view's default channel, which the token must match", async () => {
  await world.close();
  await open(LOUNGE);
  expect(await statusWith({ view: LOUNGE })).toBe(101);
  expect(await statusWith({ view: LOUNGE }, "rooms/general")).toBe(101);
  expect(await statusWith({ view: LOUNGE, channel: "rooms/lounge" })).toBe(101);
  expect(await statusWith({ view: LOUNGE, channel: "rooms/general" })).toBe(403);
  expect(world.decisions.at(-1)).toMatchObject({ reason: "token-scope" });
});

test("a token used outside of its scope does not count as a failed connect", async () => {
  // With failedConnectsPerIp: 0, a failed connect would be denied with 429.
  expect(await statusWith({ view: LOUNGE })).toBe(403);
});
