import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { type ClientError, connect, type RevokedNotice } from "../../src/client/socket.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { channels, chat } from "./chat.ts";
import { World } from "./world.ts";

/** The value that a client saved last. */
let stored: unknown;

/** Relays any value of a client without a check, as a careless app does. */
class RelayView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];

  relay = handler({ body: z.object({ frame: z.unknown() }) }, async ({ body, to }) => {
    const { sent } = await to({ channel: "rooms/general" }).send(body.frame);
    return { sent };
  });
  picture = handler(async ({ to }) => {
    await to({ channel: "rooms/general" }).send({ type: "picture", bytes: Buffer.from("a") });
  });
  scores = handler(() => ({ byUser: new Map([["ann", 1]]) }));
  save = handler({ body: z.object({ value: z.unknown() }) }, ({ body }) => {
    stored = body.value;
  });
  latest = handler(() => stored);
  quiet = handler(() => new Promise<void>(() => undefined));
}

let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views: { "/ws/relay": RelayView } });
  for (const user of ["ann", "mallory"]) await world.sallyport.access.grant(user, chat.can_use_chat);
});
afterEach(() => world.close());

const FORGED = [
  { type: "sallyport.revoked", scope: "view", reference: "x" },
  { type: "sallyport.revoked", scope: "channel", channel: "rooms/general", reference: "x" },
  { id: 1, ok: true, status: 200, result: "forged" },
  { ok: false, error: "forged", reference: "x" },
  { message: "forged", connectionId: "a=", requestId: "b=" },
];

/** Connects a client of ann, and records its messages, errors and notices. */
async function annsPage() {
  const ann = connect<RelayView>({
    url: world.gateway.url,
    token: () => world.token("ann"),
    channel: "rooms/general",
    WebSocket: class extends WebSocket {
      constructor(url: string) {
        super(url, { headers: { origin: "https://www.example.com", cookie: "login=ann:login-of-ann" } });
      }
    },
  });
  onTestFinished(() => ann.close());
  const messages: unknown[] = [];
  const errors: ClientError[] = [];
  const notices: RevokedNotice[] = [];
  ann.on("message", (message) => messages.push(message));
  ann.on("error", (error) => errors.push(error));
  ann.on("revoked", (notice) => notices.push(notice));
  await expect.poll(() => ann.state).toBe("open");
  return { ann, messages, errors, notices };
}

describe("a message in a reserved form", () => {
  test("is rejected with 400 when a client relays it, and reaches no client", async () => {
    const { ann, messages, errors, notices } = await annsPage();
    const mallory = await world.connect("mallory", { channel: "rooms/general" });
    const waiting = ann.call.quiet();
    waiting.catch(() => undefined);
    for (const frame of FORGED) {
      const answer = await mallory.call("relay", { frame });
      expect(answer).toMatchObject({ ok: false, status: 400, error: "The message has a reserved form." });
      const { reference } = answer as { reference: string };
      expect(world.decisions).toContainEqual(
        expect.objectContaining({ reference, reason: "reserved", userId: "mallory", handler: "relay" }),
      );
    }
    expect(await mallory.result("relay", { frame: { type: "chat", text: "hello" } })).toEqual({ sent: 2 });
    await expect.poll(() => messages).toEqual([{ type: "chat", text: "hello" }]);
    expect([errors, notices, ann.state]).toEqual([[], [], "open"]);
    expect(mallory.received.filter((frame) => !("id" in frame))).toEqual([{ type: "chat", text: "hello" }]);
    expect(world.errors).toEqual([]);
  });

  test("is not returned by a handler in the answer to a message without an id", async () => {
    const { ann, messages, errors, notices } = await annsPage();
    const mallory = await world.connect("mallory");
    for (const value of [...FORGED, { ok: false, id: 1, error: "forged", reference: "x" }]) {
      if ((value as { ok?: unknown }).ok === true) continue;
      await mallory.result("save", { value });
      const before = errors.length;
      ann.send("latest");
      await expect.poll(() => errors.length).toBe(before + 1);
      expect(errors.at(-1)?.message).not.toBe("forged");
      expect(world.decisions.at(-1)).toMatchObject({
        reason: "reserved",
        userId: "ann",
        handler: "latest",
      });
    }
    expect([messages, notices, ann.state]).toEqual([[], [], "open"]);
    await mallory.result("save", { value: { ok: true, type: null } });
    ann.send("latest");
    await expect.poll(() => messages).toEqual([{ ok: true, type: null }]);
  });

  test("is rejected when the server sends it", async () => {
    await world.connect("ann", { channel: "rooms/general" });
    for (const frame of FORGED) {
      const sending = world.sallyport.to({ user: "ann" }).send(frame);
      await expect(sending).rejects.toMatchObject({
        name: "BadRequestError",
        status: 400,
        reason: "reserved",
      });
    }
  });
});

describe("a value that JSON cannot represent", () => {
  test("is not sent, and onError receives its path", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    expect(await ann.call("picture")).toMatchObject({ ok: false, status: 500 });
    expect(await ann.call("scores")).toMatchObject({ ok: false, status: 500 });
    expect(world.errors.map((error) => (error as Error).message)).toEqual([
      expect.stringMatching(/^message\.bytes is an object of class Buffer, binary data/),
      expect.stringMatching(/^result\.byUser is a Map/),
    ]);
    expect(ann.received.filter((frame) => !("id" in frame))).toEqual([]);
  });
});
