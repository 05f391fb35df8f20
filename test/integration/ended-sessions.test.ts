import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import type { SallyportOptions } from "../../src/config.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { isPostgres, storageAt } from "../postgres/database.ts";
import { chat } from "./chat.ts";
import { type HandshakeRejected, ORIGIN, World, type WorldOptions } from "./world.ts";

class ChatView extends WebSocketView {
  static override signedIn = true;
  ping = handler(() => "pong");
}

let world: World;
const open = async (options: Partial<WorldOptions> = {}) => {
  world = await World.open({ permissions: [chat], views: { "/ws/chat": ChatView }, ...options });
  return world;
};
afterEach(async () => {
  const { errors } = world;
  await world.close();
  expect(errors.map(String)).toEqual([]);
});

const denied = (status: number) => expect.objectContaining({ status }) as HandshakeRejected;
const DAY_MS = 24 * 3_600_000;

describe("a session that was ended with endSession()", () => {
  test("receives no token from any process", async () => {
    await open();
    const ann = await world.connect("ann:phone");
    await world.sallyport.access.endSession("phone");
    await ann.closed;
    for (let n = 0; n < 3; n++) {
      const response = await world.requestToken("ann:phone");
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ ok: false, error: "Authentication required." });
    }
    expect(world.decisions.at(-1)).toMatchObject({ event: "token", reason: "session-ended", userId: "ann" });
  });

  test("cannot connect with a token that was issued before", async () => {
    await open();
    const token = await world.token("ann:phone");
    await world.sallyport.access.endSession("phone");
    await expect(world.connect("ann:phone", { token })).rejects.toEqual(denied(401));
    expect(world.decisions.at(-1)).toMatchObject({ event: "connect", reason: "session-ended" });
  });

  test("cannot connect with an earlier token if the token alone identifies the user", async () => {
    await open({ token: { binding: "token" } });
    const token = await world.token("ann:phone");
    await world.sallyport.access.endSession("phone");
    await expect(world.connect("ann:phone", { token })).rejects.toEqual(denied(401));
  });

  test("does not affect other sessions of the user, also with a similar id", async () => {
    await open();
    await world.sallyport.access.endSession("phone");
    const ann = await world.connect("ann:laptop");
    expect(await ann.result("ping")).toBe("pong");
    await world.sallyport.access.endSession("PHONE");
    expect((await world.requestToken("ann:phone2")).status).toBe(200);
  });

  test("is ended before its first token request, and is stored once", async () => {
    await open();
    await world.sallyport.access.endSession("phone");
    await world.sallyport.access.endSession("phone");
    expect((await world.requestToken("ann:phone")).status).toBe(401);
    expect(await world.sql("select * from sallyport_ended_sessions")).toHaveLength(1);
  });

  test("is forgotten after 30 days, or after endedSessions.keepDays", async () => {
    for (const [keepDays, options] of [
      [30, {}],
      [2, { endedSessions: { keepDays: 2 } }],
    ] as const) {
      await open(options);
      await world.sallyport.access.endSession("phone");
      await age(keepDays - 0.1);
      expect((await world.requestToken("ann:phone")).status).toBe(401);
      await world.sallyport.cleanup();
      expect((await world.requestToken("ann:phone")).status).toBe(401);
      await age(0.2);
      expect((await world.requestToken("ann:phone")).status).toBe(200);
      expect(await world.sallyport.cleanup()).toMatchObject({ endedSessions: 1 });
      expect(await world.sql("select * from sallyport_ended_sessions")).toEqual([]);
      if (keepDays === 30) await world.close();
    }
  });

  test("stays ended after a restart of the app", async () => {
    await open();
    await world.sallyport.access.endSession("phone");
    const app = sameApp();
    const headers = { origin: ORIGIN };
    const request = new Request("http://localhost/api/ws-token", { method: "POST", headers });
    expect((await app.fetch(request))?.status).toBe(401);
  });

  test("receives no token when it ends while authorize runs for the token request", async () => {
    let [entered, release] = [() => {}, () => {}];
    const hasEntered = new Promise<void>((resolve) => {
      entered = resolve;
    });
    const isReleased = new Promise<void>((resolve) => {
      release = resolve;
    });
    const authorize = async () => {
      entered();
      await isReleased;
      return true;
    };
    await open({ channels: [defineChannel("club", { signedIn: true, authorize })] });
    const requested = world.requestToken("ann:phone", { view: "/ws/chat", channel: "club" });
    await hasEntered;
    await world.sallyport.access.endSession("phone");
    release();
    expect((await requested).status).toBe(401);
    expect(await world.sql("select * from sallyport_tokens")).toEqual([]);
  });
});

describe("a token of an ended session", () => {
  test("is answered with 401 when the session ends while the view's connect() runs", async () => {
    class SlowView extends ChatView {
      override async connect() {
        await world.sallyport.access.endSession("phone");
      }
    }
    await open({ views: { "/ws/chat": SlowView } });
    await expect(world.connect("ann:phone")).rejects.toEqual(denied(401));
    expect(world.decisions.at(-1)).toMatchObject({ event: "connect", reason: "session-ended" });
  });

  test("counts as a failed connect of its address each time it is used", async () => {
    await open({ limits: { failedConnectsPerIp: 3 } });
    const token = await world.token("ann:phone");
    await world.sallyport.access.endSession("phone");
    const statuses = [];
    for (let n = 0; n < 5; n++) {
      statuses.push(
        await world.connect("ann:phone", { token }).catch((error: HandshakeRejected) => error.status),
      );
    }
    expect(statuses).toEqual([401, 401, 401, 429, 429]);
  });
});

test("enforce() alone limits the stored ended sessions to maxRows, as on Lambda", async () => {
  await open({ endedSessions: { maxRows: 2 }, instances: 1 });
  for (const id of ["one", "two", "three", "four", "five", "six"])
    await world.sallyport.access.endSession(id);
  const errors: unknown[] = [];
  const app = sameApp({ endedSessions: { maxRows: 2 }, onError: (error) => errors.push(error) });
  await app.enforce();
  expect(await world.sql("select * from sallyport_ended_sessions")).toHaveLength(2);
  expect(errors).toHaveLength(1);
});

test("cleanup() removes the oldest ended sessions above maxRows, and reports it once", async () => {
  await open({ endedSessions: { maxRows: 3 }, instances: 1 });
  for (const id of ["one", "two", "three", "four", "five"]) {
    await world.sallyport.access.endSession(id);
    await age(0.1);
  }
  await world.sallyport.cleanup();
  const statuses = [];
  for (const id of ["one", "two", "three", "four", "five"]) {
    statuses.push((await world.requestToken(`ann:${id}`)).status);
  }
  expect(statuses).toEqual([200, 200, 401, 401, 401]);
  await world.sallyport.access.endSession("six");
  await world.sallyport.cleanup();
  expect(world.errors.splice(0).map(String)).toEqual([expect.stringContaining("endedSessions.maxRows")]);
});

describe("a session id that is the id of its user", () => {
  const authenticate = () => ({ userId: "ann", sessionId: "ann" });

  test("is not stored as ended, so the user can connect again, and is reported once", async () => {
    await open({ authenticate, instances: 1 });
    const ann = await world.connect("ann");
    await world.sallyport.access.endSession("ann");
    await ann.closed;
    for (let n = 0; n < 3; n++) expect((await world.requestToken("ann")).status).toBe(200);
    const again = await world.connect("ann");
    expect(await again.result("ping")).toBe("pong");
    await world.sallyport.flush();
    expect(world.errors.splice(0).map(String)).toEqual([expect.stringMatching(/sessionId .* user id/)]);
  });

  test("cannot connect with a token from before endSession()", async () => {
    await open({ authenticate, instances: 1 });
    const token = await world.token("ann");
    await world.sallyport.access.endSession("ann");
    await expect(world.connect("ann", { token })).rejects.toEqual(denied(401));
    world.errors.splice(0);
  });
});

describe("the session id of the app", () => {
  const SECRET = "s3cret-of-the-app";

  test("B8 is stored as a hash in every table", async () => {
    await open();
    const user = `ann:${SECRET}`;
    const ann = await world.connect(user);
    await world.token(user);
    expect(await ann.call("unknown")).toMatchObject({ ok: false });
    await world.token(user);
    expect(await everyRow()).not.toContain(SECRET);
    await world.sallyport.access.endSession(SECRET, { by: "root", reason: "signed out" });
    await ann.closed;
    expect((await world.requestToken(user)).status).toBe(401);
    expect(await everyRow()).not.toContain(SECRET);
    expect(JSON.stringify([world.decisions, await world.sallyport.access.audit.list()])).not.toContain(
      SECRET,
    );
  });

  test("stored in plain text by an earlier version is not migrated, because migrate rejects the database", async () => {
    await open({ instances: 1 });
    await world.connect(`ann:${SECRET}`);
    await world.token(`ann:${SECRET}`);
    for (const table of ["connections", "tokens"]) {
      await world.sql(`update sallyport_${table} set session_id = '${SECRET}'`);
    }
    await world.sql("delete from sallyport_migrations");
    await world.sql("insert into sallyport_migrations (name, timestamp) values ('0001_first_tables', '')");
    await expect(world.sallyport.migrate()).rejects.toThrow(
      /^The database was created by Sallyport 0\.1 .* its tables cannot be upgraded\. Create a new database/,
    );
    expect(await world.sql("select name from sallyport_migrations")).toEqual([{ name: "0001_first_tables" }]);
    for (const table of ["connections", "tokens"]) {
      const rows = await world.sql(`select distinct session_id from sallyport_${table}`);
      expect(rows).toEqual([{ session_id: SECRET }]);
    }
  });
});

/** Starts another process of the same app. */
function sameApp(options: Partial<SallyportOptions> = {}) {
  const app = createSallyport({
    ...{ permissions: [chat], views: { "/ws/chat": ChatView }, origins: [ORIGIN] },
    storage: storageAt(world.database),
    authenticate: () => ({ userId: "ann", sessionId: "phone" }),
    ...options,
  });
  onTestFinished(() => app.close());
  return app;
}

/** Makes the ended sessions older by the given number of days. */
const age = (days: number) =>
  world.sql(`update sallyport_ended_sessions set ended_at = ended_at - ${Math.round(days * DAY_MS)}`);

async function everyRow(): Promise<string> {
  const tables = (await world.sql(
    isPostgres
      ? "select table_name as name from information_schema.tables where table_schema = current_schema()"
      : "select name from sqlite_master where type = 'table'",
  )) as { name: string }[];
  expect(tables.length).toBeGreaterThan(15);
  const rows = await Promise.all(tables.map(({ name }) => world.sql(`select * from ${name}`)));
  return JSON.stringify(rows, (_key, value) => (typeof value === "bigint" ? String(value) : value));
}
