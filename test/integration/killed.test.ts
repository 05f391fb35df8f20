import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

const root = resolve(import.meta.dirname, "../..");

let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": ChatView } });
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

test("another process completes the revocation of a process that was killed after its commit", async () => {
  await world.sallyport.access.grant({ group: "Chatters" }, chat.can_use_chat);
  await world.sallyport.access.users.addToGroup("ann", "Chatters");
  const ann = await world.connect("ann", { channel: "rooms/general" });
  const killed = promisify(execFile)(process.execPath, ["--input-type=module", "-e", KILLED_AFTER_COMMIT], {
    cwd: root,
    env: { ...process.env, TEST_DATABASE: world.database },
  });
  await expect(killed).rejects.toMatchObject({ signal: "SIGKILL" });
  const [record] = await world.sql("select scope, change_number from sallyport_revocations");
  expect(record).toMatchObject({ scope: "users" });
  // The revoked permission allows no message and no delivery, although the connection is still open.
  expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
  expect(await world.sallyport.to("everyone").send({ type: "x" })).toMatchObject({ sent: 0, denied: 1 });
  await world.sql("update sallyport_revocations set claimed_until = 0");
  expect((await ann.closed).code).toBe(1000);
  await expect.poll(() => world.sql("select * from sallyport_revocations")).toEqual([]);
  expect((await world.sallyport.access.audit.list())[0]).toMatchObject({
    action: "delete-group",
    group: "Chatters",
    by: "dying",
  });
});

/** Deletes a group, and kills its process after the commit. */
const KILLED_AFTER_COMMIT = `
  import { createSallyport, WebSocketView } from "sallyport";
  import { postgres } from "sallyport/storage/postgres";
  import { sqlite } from "sallyport/storage/sqlite";
  const { TEST_DATABASE: source } = process.env;
  const [url, schema] = source.split("?schema=");
  const storage = source.startsWith("postgres:") ? postgres(url, { schema }) : sqlite(source);
  let writes = 0;
  const dying = Object.assign(Object.create(storage), {
    transaction: async (work) => {
      const result = await storage.transaction(work);
      if (++writes === 1) process.kill(process.pid, "SIGKILL");
      return result;
    },
  });
  class Idle extends WebSocketView { static signedIn = true; static receiveOnly = true; }
  const sallyport = createSallyport({
    storage: dying, permissions: [], views: { "/ws/idle": Idle },
    origins: ["https://www.example.com"], authenticate: () => null,
  });
  await sallyport.access.groups.delete("Chatters", { by: "dying" });
  console.log("survived");
`;
