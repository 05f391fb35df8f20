import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ChatView, channels, chat } from "../stories/chat.ts";
import { World } from "../stories/world.ts";

const root = resolve(import.meta.dirname, "../..");
const DURATION_MS = 10_000;

let world: World;
beforeEach(async () => {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    limits: {
      connectsPerUser: false,
      tokensPerUser: false,
      connectsPerIp: false,
      messagesPerConnection: false,
    },
  });
});
afterEach(() => world.close());

/** A command in a terminal, on the database that the app is serving from. */
function cli(...args: string[]) {
  return promisify(execFile)(process.execPath, [join(root, "bin/sallyport.js"), ...args], {
    env: {
      ...process.env,
      SALLYPORT_APP: join(root, "test/processes/app.ts"),
      STORY_DATABASE: world.database,
    },
  });
}

test("app and command line writing at once for ten seconds: no error, no timer late by more than 100 ms", {
  timeout: 60_000,
}, async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const until = Date.now() + DURATION_MS;
  let [latest, expected] = [0, performance.now() + 10];
  const timer = setInterval(() => {
    latest = Math.max(latest, performance.now() - expected);
    expected = performance.now() + 10;
  }, 10);

  const commands = (async () => {
    let ran = 0;
    for (; Date.now() < until; ran++) {
      await cli("users", ran % 2 === 0 ? "grant" : "revoke", "ann@example.com", "chat.can_moderate_chat");
    }
    return ran;
  })();
  const events = (async () => {
    let ran = 0;
    while (Date.now() < until) {
      // A token, a connect, two moves and a disconnect: each of them writes.
      const ann = await world.connect("ann", { channel: "rooms/general" });
      await ann.result("change_channel", { channel: "rooms/random" });
      await ann.result("change_channel", { channel: "rooms/general" });
      ann.close();
      ran++;
    }
    return ran;
  })();
  expect(await commands).toBeGreaterThan(5);
  expect(await events).toBeGreaterThan(100);
  clearInterval(timer);
  expect(world.errors.map(String)).toEqual([]);
  expect(world.decisions).toEqual([]);
  expect(latest).toBeLessThan(100);
});
