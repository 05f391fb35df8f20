import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { ORIGIN, revoked, World } from "../integration/world.ts";
import {
  emptyDatabase,
  observedStorageAt,
  searching,
  sqlAt,
  storageAt,
  type TestDatabase,
} from "./database.ts";
import { postgresDatabase } from "./storage-at.ts";

class OtherView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  static override receiveOnly = true;
}

let database: TestDatabase;
const opened: { close(): Promise<unknown> }[] = [];
beforeEach(async () => {
  database = await emptyDatabase();
});
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
  await database.drop();
});

/** An app without the chat view, which leaves the chat connections to the other apps. */
function otherApp(storage: Database): Sallyport {
  const sallyport = createSallyport({
    storage,
    permissions: [chat],
    views: { "/ws/other": OtherView },
    origins: [ORIGIN],
    authenticate: () => null,
  });
  opened.push(sallyport);
  return sallyport;
}

/** Counts the notifications that a storage receives. */
function countNotifications(storage: Database): { times: number } {
  const notified = { times: 0 };
  opened.push({ close: storage.listen(() => notified.times++) });
  return notified;
}

/** Returns the connections that listen for changes in a test database. */
async function listeners(source: string): Promise<number[]> {
  const schema = new URL(source).searchParams.get("schema");
  const rows = await sqlAt(
    inject("postgres"),
    `select pid from pg_stat_activity where query = 'listen "sallyport_' || md5('${schema}') || '"'`,
  );
  return rows.map((row) => (row as { pid: number }).pid);
}

/** Notifies all listeners of a test database, as an unknown process. */
const notifyAll = (source: string) =>
  sqlAt(
    inject("postgres"),
    `select pg_notify('sallyport_' || md5('${new URL(source).searchParams.get("schema")}'), 'x')`,
  );

function withoutListening(source: string): Database {
  return postgresDatabase(searching(source), { listen: false });
}

const end = (pids: readonly number[]) =>
  sqlAt(inject("postgres"), `select ${pids.map((pid) => `pg_terminate_backend(${pid})`).join(", ")}`);

describe("a permission change", () => {
  test("notifies all other processes of its schema on commit, but not its own process", async () => {
    const another = await emptyDatabase();
    opened.push({ close: another.drop });
    const [own, first, second] = [1, 2, 3].map(() => storageAt(database.source)) as [
      Database,
      Database,
      Database,
    ];
    const elsewhere = storageAt(another.source);
    opened.unshift(first, second, elsewhere);
    const sallyport = otherApp(own);
    await sallyport.migrate();
    const notified = [own, first, second, elsewhere].map(countNotifications);
    // Each storage is notified once when it starts to listen.
    await expect.poll(() => notified.map(({ times }) => times)).toEqual([1, 1, 1, 1]);
    await sallyport.access.grant("ann", chat.can_use_chat);
    await expect.poll(() => notified.map(({ times }) => times)).toEqual([1, 2, 2, 1]);
    // A preview is rolled back, and a read changes nothing.
    await sallyport.access.preview({ kind: "revoke", holder: "ann", permission: chat.can_use_chat });
    await sallyport.access.users.hasPermission("ann", chat.can_use_chat);
    await notifyAll(database.source);
    await expect.poll(() => notified.map(({ times }) => times)).toEqual([2, 3, 3, 1]);
    await sallyport.access.revoke("ann", chat.can_use_chat);
    await expect.poll(() => notified.map(({ times }) => times)).toEqual([2, 4, 4, 1]);
  });
});

describe("without notifications", () => {
  test("connections are closed by polling, and calls are denied immediately", async () => {
    const world = await World.open(
      { permissions: [chat], channels, views: { "/ws/chat": ChatView }, storage: withoutListening },
      { source: database.source, drop: async () => undefined },
    );
    opened.push(world);
    const admin = otherApp(withoutListening(database.source));
    await admin.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    await admin.access.revoke("ann", chat.can_use_chat);
    await expect(ann.result("whoami")).rejects.toThrow(/rejected|closed first/);
    expect((await ann.closed).code).toBe(1000);
    expect(ann.received).toContainEqual(revoked());
    expect(await listeners(database.source)).toEqual([]);
  });

  test("because the listening connection broke, a new one is opened", async () => {
    const storage = storageAt(database.source);
    opened.unshift(storage);
    await otherApp(storageAt(database.source)).migrate();
    const notified = countNotifications(storage);
    await expect.poll(() => listeners(database.source)).toHaveLength(1);
    for (let round = 0; round < 2; round++) {
      const [before] = await listeners(database.source);
      await end([before as number]);
      await expect
        .poll(async () => (await listeners(database.source)).filter((pid) => pid !== before))
        .toHaveLength(1);
    }
    await notifyAll(database.source);
    await expect.poll(() => notified.times).toBe(4);
  });

  test("because no server answers, the connection is retried until the storage is closed", async () => {
    let tries = 0;
    const server = createServer((socket) => {
      tries++;
      socket.destroy();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    opened.push({ close: async () => server.close() });
    const url = new URL(searching(database.source));
    url.port = String((server.address() as AddressInfo).port);
    const storage = postgresDatabase(url.href);
    let times = 0;
    const unlisten = storage.listen(() => times++);
    await expect.poll(() => tries).toBeGreaterThan(1);
    await unlisten();
    await storage.close();
    expect(times).toBe(0);
  });
});

test("denies the answer of a handler that another instance runs while the permission is revoked", async () => {
  let finish: () => void = () => undefined;
  let entered: () => void = () => undefined;
  const running = new Promise<void>((resolve) => {
    entered = resolve;
  });
  class SlowView extends WebSocketView {
    static override permissionsRequired = [chat.can_use_chat];
    slow = handler(async () => {
      entered();
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return { secret: "the answer" };
    });
  }
  const polls: number[] = [];
  const world = await World.open({
    permissions: [chat],
    views: { "/ws/chat": SlowView },
    storage: (source) => {
      const index = polls.push(0) - 1;
      return observedStorageAt(source, () => {
        polls[index] = (polls[index] ?? 0) + 1;
      });
    },
  });
  opened.push(world);
  const admin = otherApp(storageAt(world.database));
  await admin.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  const unanswered = expect(ann.call("slow")).rejects.toThrow("closed first");
  await running;
  await admin.access.revoke("ann", chat.can_use_chat);
  await ann.closed;
  // Every instance has read the change once it has started two more polls.
  const before = [...polls];
  await expect
    .poll(() => polls.map((count, index) => count - (before[index] ?? 0) > 1))
    .toEqual(before.map(() => true));
  finish();
  await unanswered;
  await expect
    .poll(() => world.decisions.map(({ handler: name, reason }) => [name, reason]))
    .toContainEqual(["slow", "connection"]);
  expect(JSON.stringify(ann.received)).not.toContain("the answer");
});
