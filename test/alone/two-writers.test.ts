import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { World } from "../integration/world.ts";

const root = resolve(import.meta.dirname, "../..");
const COMMANDS = 6;
const EVENTS_AT_LEAST = 50;

let world: World;
beforeEach(async () => {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    limits: {
      connectsPerUser: false,
      connectionsPerUser: false,
      tokensPerUser: false,
      connectsPerIp: false,
      messagesPerConnection: false,
      messagesPerUser: false,
    },
  });
});
afterEach(() => world.close());

/** Runs a command in a terminal, on the database of the running app. */
function cli(...args: string[]) {
  return promisify(execFile)(process.execPath, [join(root, "bin/sallyport.js"), ...args], {
    env: {
      ...process.env,
      SALLYPORT_APP: join(root, "test/processes/app.ts"),
      TEST_DATABASE: world.database,
    },
  });
}

test("the app and the command line write to one database at the same time, and no write fails or is lost", async () => {
  const { access } = world.sallyport;
  await access.grant("ann", chat.can_use_chat);
  let isOver = false;
  let commands = 0;
  const writeCommands = async () => {
    for (; commands < COMMANDS; commands++) {
      const isGrant = commands % 2 === 0;
      await cli("users", isGrant ? "grant" : "revoke", "ann@example.com", "chat.can_moderate_chat");
      expect(
        await access.users.hasPermission("u1", chat.can_moderate_chat),
        `after command ${commands}`,
      ).toBe(isGrant);
    }
  };
  let events = 0;
  const writeEvents = async () => {
    for (; !isOver || events < EVENTS_AT_LEAST; events++) {
      // A token, a connect, two moves and a disconnect, each of which writes.
      const ann = await world.connect("ann", { channel: "rooms/general" });
      await ann.result("change_channel", { channel: "rooms/random" });
      await ann.result("change_channel", { channel: "rooms/general" });
      ann.close();
    }
  };
  const written = writeCommands().finally(() => {
    isOver = true;
  });
  await Promise.all([written, writeEvents()]);

  expect(world.errors.map(String)).toEqual([]);
  expect(world.decisions).toEqual([]);
  const changes = await access.audit.list({ user: "u1" });
  expect(changes.map(({ action }) => action)).toEqual(
    Array(COMMANDS / 2)
      .fill(["revoke", "grant"])
      .flat(),
  );
  const sessions = () => world.sql("select id from sallyport_connections where disconnected_at is not null");
  await expect.poll(sessions).toHaveLength(events);
});
