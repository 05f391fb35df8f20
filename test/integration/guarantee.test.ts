import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { badRequest } from "../../src/errors.ts";
import { handler } from "../../src/views/handler.ts";
import { NOW, padded } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

/** A Management API that delays its responses while `holding` is true. */
let api: Server;
let endpoint: string;
let holding: boolean;
let held: ServerResponse[];
let posts: { connection: string; body: string }[];

let resume: () => void;
let arrived: Promise<void>;
class SlowView extends ChatView {
  slow = handler(async () => {
    await waitForTest();
    return { secret: "found out with the rights of before" };
  });
  slow_words = handler(async () => {
    await waitForTest();
    throw badRequest("the code is open-sesame");
  });
  slow_document = handler({ signedIn: true, authorize: ({ user }) => user.id === owner }, async () => {
    await waitForTest();
    return { secret: 42 };
  });
  guarded = handler(
    {
      authorize: async () => {
        await waitForTest();
        return true;
      },
    },
    () => {
      started.push("guarded");
    },
  );
  described = handler(
    {
      authorize: async () => {
        if (!isDescribed) await waitForTest();
        isDescribed = true;
        return true;
      },
    },
    ({ user, connection }) => ({
      moderates: user.hasPermission(chat.can_moderate_chat),
      channels: connection.channels,
    }),
  );
  moderate = handler({ allPermissionsRequired: [chat.can_moderate_chat] }, () => {
    entered();
    return { secret: 42 };
  });
  static override allowedHandlers = [
    "slow",
    "slow_words",
    "slow_document",
    "guarded",
    "described",
    "moderate",
    "whoami",
  ];
}
let owner = "";
/** Whether the first `authorize` of `described` has finished. Later ones do not wait. */
let isDescribed = false;
const started: string[] = [];

/** Signals the test that the handler runs, and waits until the test calls `resume()`. */
async function waitForTest(): Promise<void> {
  const gate = new Promise<void>((resolve) => {
    resume = resolve;
  });
  entered();
  await gate;
}
let entered: () => void = () => undefined;

let world: World;
beforeEach(async () => {
  [holding, held, posts] = [true, [], []];
  arrived = new Promise((resolve) => {
    entered = resolve;
  });
  api = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const connection = decodeURIComponent(request.url?.split("/").at(-1) ?? "");
    if (request.method === "POST") posts.push({ connection, body });
    if (holding) held.push(response);
    else response.writeHead(200).end();
  });
  await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(api.address() as AddressInfo).port}/dev`;
  // `revoke()` gives its guarantee for its own process when it resolves.
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": SlowView }, instances: 1 });
  for (const user of ["ann", "bob"]) await world.sallyport.access.grant(user, chat.can_use_chat);
});
afterEach(async () => {
  release();
  await world.close();
  api.closeAllConnections();
  await new Promise((resolve) => api.close(resolve));
  expect(world.errors.map(String)).toEqual([]);
});

function release(): void {
  holding = false;
  for (const response of held.splice(0)) response.writeHead(200).end();
}

/** Inserts connections at a gateway with the Management API of this test. */
async function insertConnections(user: string, from: number, count: number): Promise<void> {
  await world.sallyport.registerGateway({ name: "slow", endpoint });
  await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    with recursive n(i) as (select ${from} union all select i + 1 from n where i < ${from + count - 1})
    select ${padded("i", 5)}, (select id from sallyport_gateways where name = 'slow'), ${padded("i", 15)} || '=',
      '/ws/chat', '${user}', ${NOW} - 60000, 0 from n`);
}

const connections = (body: string) =>
  posts.filter((post) => post.body === body).map((post) => post.connection);

test("a send in progress does not start a delivery to a user who lost the permission", async () => {
  await insertConnections("ann", 1, 128);
  await insertConnections("bob", 1001, 60);
  const sending = world.sallyport.to("everyone").send("news");
  await expect.poll(() => posts.length).toBe(128);
  const revoking = world.sallyport.access.revoke("bob", chat.can_use_chat);
  await expect.poll(() => world.sallyport.access.users.hasPermission("bob", chat.can_use_chat)).toBe(false);
  release();
  expect(await sending).toMatchObject({ recipients: 188, sent: 128, denied: 60 });
  expect(await revoking).toBe(true);
  expect(connections('"news"').every((connection) => Number(connection.slice(0, -1)) <= 128)).toBe(true);
  const notices = posts.filter(({ body }) =>
    body.startsWith('{"type":"sallyport.revoked","scope":"view","reference":'),
  );
  expect(notices).toHaveLength(60);
});

test("a send in progress denies only the recipient that left the channel", async () => {
  await insertConnections("ann", 1, 128);
  await insertConnections("bob", 1001, 60);
  await world.sql(
    "insert into sallyport_memberships select id, 'rooms/general', 1 from sallyport_connections",
  );
  await world.sallyport.access.grant({ group: "Others" }, chat.can_use_chat);
  const sending = world.sallyport.to({ channel: "rooms/general" }).send("news");
  await expect.poll(() => posts.length).toBe(128);
  // A revocation in another process removes a membership in this way.
  await world.sql("delete from sallyport_memberships where connection_key = '01060'");
  const changing = world.sallyport.access.recheck({ user: "bob" });
  const last = async () => (await world.sallyport.access.audit.list({ limit: 1 }))[0]?.action;
  await expect.poll(last).toBe("recheck");
  release();
  await changing;
  expect(await sending).toMatchObject({ recipients: 188, sent: 187, denied: 1 });
});

test("revoke() resolves only after a delivery that had started has finished", async () => {
  await insertConnections("bob", 1, 1);
  const sending = world.sallyport.to({ user: "bob" }).send("news");
  await expect.poll(() => posts.length).toBe(1);
  let resolved = false;
  const revoking = world.sallyport.access.revoke("bob", chat.can_use_chat).then(() => {
    resolved = true;
  });
  await expect.poll(() => world.sallyport.access.users.hasPermission("bob", chat.can_use_chat)).toBe(false);
  // A later revoke() completes in the meantime.
  await world.sallyport.access.grant("eve", chat.can_use_chat);
  await world.sallyport.access.revoke("eve", chat.can_use_chat);
  expect(resolved).toBe(false);
  release();
  await revoking;
  expect(await sending).toMatchObject({ sent: 1 });
});

test("the deletion of a group denies its members the rest of a send in progress", async () => {
  const { access } = world.sallyport;
  await access.grant({ group: "Crew" }, chat.can_use_chat);
  await insertConnections("ann", 1, 500);
  await world.sql(`insert into sallyport_users (id, is_active, is_superuser, created_at)
    select 'member ' || id, 1, 0, 0 from sallyport_connections`);
  await world.sql(`insert into sallyport_user_groups (user_id, group_name, granted_at)
    select 'member ' || id, 'Crew', 0 from sallyport_connections`);
  await world.sql("update sallyport_connections set user_id = 'member ' || id");
  await world.sql(
    "insert into sallyport_memberships select id, 'rooms/general', 1 from sallyport_connections",
  );
  const sending = world.sallyport.to({ channel: "rooms/general" }).send("news");
  await expect.poll(() => posts.length).toBe(128);
  const changing = access.groups.delete("Crew");
  await expect.poll(async () => (await access.audit.list({ limit: 1 }))[0]?.action).toBe("delete-group");
  release();
  await changing;
  expect(await sending).toMatchObject({ recipients: 500, sent: 128, denied: 372 });
});

test("a handler does not start if its permission moves to a group that then loses it", async () => {
  const { access } = world.sallyport;
  await access.grant({ group: "Crew" }, chat.can_use_chat);
  await world.connect("bob");
  started.length = 0;
  const nextArrival = () => {
    arrived = new Promise((resolve) => {
      entered = resolve;
    });
  };
  const late = world.event(
    "/ws/chat/default",
    await asGateway("bob"),
    JSON.stringify({ id: 1, handler: "guarded" }),
  );
  await arrived;
  nextArrival();
  await access.users.addToGroup("bob", "Crew");
  await access.revoke("bob", chat.can_use_chat);
  resume();
  await arrived;
  await access.revoke({ group: "Crew" }, chat.can_use_chat);
  resume();
  expect(await (await late).json()).toMatchObject({ id: 1, ok: false, status: 403 });
  expect(started).toEqual([]);
});

test("the answer of a running handler is replaced by a denial after a revocation", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  const answer = ann.call("slow");
  await arrived;
  // The revocation of another permission of the user does not change the answer.
  await world.sallyport.access.revoke("ann", chat.can_moderate_chat);
  resume();
  expect(await answer).toMatchObject({ ok: true });

  arrived = new Promise((resolve) => {
    entered = resolve;
  });
  const bob = await world.connect("bob");
  const late = world.event(
    "/ws/chat/default",
    await asGateway("bob"),
    JSON.stringify({ id: 1, handler: "slow" }),
  );
  await arrived;
  await world.sallyport.access.revoke("bob", chat.can_use_chat);
  await bob.closed;
  resume();
  expect(await (await late).json()).toMatchObject({
    id: 1,
    ok: false,
    status: 403,
    error: "Permission denied.",
  });
});

test("the error text of a running handler is not sent after a revocation", async () => {
  await world.connect("bob");
  const late = world.event(
    "/ws/chat/default",
    await asGateway("bob"),
    JSON.stringify({ id: 1, handler: "slow_words" }),
  );
  await arrived;
  await world.sallyport.access.revoke("bob", chat.can_use_chat);
  resume();
  const answer = (await (await late).json()) as object;
  expect(answer).toMatchObject({ status: 403, error: "Permission denied." });
  expect(JSON.stringify(answer)).not.toContain("open-sesame");
});

test("a recheck calls authorize again before the answer of a running handler is sent", async () => {
  owner = "ann";
  const ann = await world.connect("ann");
  const answer = ann.call("slow_document");
  await arrived;
  owner = "bob";
  await world.sallyport.access.recheck({ user: "ann" });
  resume();
  expect(await answer).toMatchObject({ ok: false, status: 403 });
});

test("a handler does not start if the permission is revoked while its authorize runs", async () => {
  await world.connect("bob");
  const late = world.event(
    "/ws/chat/default",
    await asGateway("bob"),
    JSON.stringify({ id: 1, handler: "guarded" }),
  );
  await arrived;
  await world.sallyport.access.revoke("bob", chat.can_use_chat);
  resume();
  expect(await (await late).json()).toMatchObject({ status: 403 });
  expect(started).toEqual([]);
});

test("a handler receives the permissions and channels that remain after its authorize ran", async () => {
  isDescribed = false;
  await world.sallyport.access.grant("bob", chat.can_moderate_chat);
  await world.connect("bob", { channel: "rooms/moderators" });
  const late = world.event(
    "/ws/chat/default",
    await asGateway("bob"),
    JSON.stringify({ id: 1, handler: "described" }),
  );
  await arrived;
  await world.sallyport.access.revoke("bob", chat.can_moderate_chat);
  resume();
  expect(await (await late).json()).toMatchObject({ ok: true, result: { moderates: false, channels: [] } });
});

describe("an answer that waits to be pushed", () => {
  /** Returns the pushed answer when `change` ran while the answer was queued. */
  async function pushedAfter(change: () => Promise<unknown>, isDone: () => Promise<boolean>) {
    await insertConnections("ann", 1, 128);
    await world.sallyport.access.grant("bob", chat.can_moderate_chat);
    await world.connect("bob");
    await world.sallyport.registerGateway({ name: "local", endpoint, stage: "dev", replies: "push" });
    const sending = world.sallyport.to({ user: "ann" }).send("news");
    await expect.poll(() => posts.length).toBe(128);
    const answered = world.event(
      "/ws/chat/default",
      await asGateway("bob"),
      JSON.stringify({ id: 1, handler: "moderate" }),
    );
    await arrived;
    // The answer is queued before this separate request has been served.
    await world.token("ann");
    const changing = change();
    await expect.poll(isDone).toBe(true);
    release();
    await Promise.all([changing, sending, answered]);
    const [pushed, ...others] = posts.filter(({ body }) => body.includes('"id":1'));
    expect(others).toEqual([]);
    return JSON.parse(pushed?.body ?? "{}") as unknown;
  }
  test("is denied if its permission is revoked before it is sent", async () => {
    const pushed = await pushedAfter(
      () => world.sallyport.access.revoke("bob", chat.can_moderate_chat),
      async () => !(await world.sallyport.access.users.hasPermission("bob", chat.can_moderate_chat)),
    );
    expect(pushed).toMatchObject({ id: 1, ok: false, status: 403 });
  });

  test("is sent unchanged if the user still has the required permission", async () => {
    const pushed = await pushedAfter(
      () => world.sallyport.access.revoke("bob", chat.can_use_chat),
      async () => !(await world.sallyport.access.users.hasPermission("bob", chat.can_use_chat)),
    );
    expect(pushed).toMatchObject({ id: 1, ok: true, result: { secret: 42 } });
  });
});

async function asGateway(user: string): Promise<Record<string, string>> {
  const rows = await world.sql(`select connection_id from sallyport_connections where user_id = '${user}'`);
  const { connection_id } = rows[0] as { connection_id: string };
  return { connectionId: connection_id, "x-sallyport-secret": world.secret };
}
