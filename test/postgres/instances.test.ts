import { type ChildProcess, fork } from "node:child_process";
import { resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { gatewaySecret } from "../../src/auth/gateways.ts";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { definePermissions } from "../../src/permissions/define.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { ORIGIN, Socket } from "../integration/world.ts";
import { emptyDatabase, sqlAt, storageAt, type TestDatabase } from "./database.ts";

const root = resolve(import.meta.dirname, "../..");
const chat = definePermissions("chat", { can_use_chat: "Can use chat" });
const PEOPLE = Array.from({ length: 12 }, (_, index) => `user-${index}`);

/** Has the same rule as the view of the instances, and no handlers. */
class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  static override receiveOnly = true;
}

let database: TestDatabase;
let storage: Database;
/** An instance in this process that serves no client and makes the changes. */
let here: Sallyport;
let instances: { process: ChildProcess; url: string }[];
let gateway: LocalGateway;
let sockets: Socket[];

beforeEach(async () => {
  database = await emptyDatabase();
  storage = storageAt(database.source);
  here = createSallyport({
    storage,
    permissions: [chat],
    views: { "/ws/chat": ChatView },
    origins: [ORIGIN],
    authenticate: () => null,
  });
  await here.migrate();
  await sqlAt(database.source, "create table story_messages (text text, said_by text)");
  instances = await Promise.all([1, 2, 3].map(started));
  const secret = gatewaySecret();
  gateway = await startLocalGateway({
    target: instances.map(({ url }) => `${url}/ws/chat/`),
    port: 0,
    secret,
  });
  await here.registerGateway({ name: "local", apiId: gateway.apiId, endpoint: gateway.endpoint, secret });
  await here.access.grant({ group: "Crew" }, chat.can_use_chat);
  for (const user of PEOPLE) await here.access.users.addToGroup(user, "Crew");
  sockets = await Promise.all(PEOPLE.map(connected));
});
afterEach(async () => {
  for (const socket of sockets) socket.terminate();
  for (const instance of instances) instance.process.kill("SIGKILL");
  await gateway.close();
  await here.close();
  await database.drop();
});

async function started(): Promise<{ process: ChildProcess; url: string }> {
  const child = fork(resolve(root, "node_modules/jiti/lib/jiti-cli.mjs"), ["test/processes/instance.ts"], {
    cwd: root,
    env: { ...process.env, TEST_DATABASE: database.source },
  });
  const port = await new Promise<number>((ready, failed) => {
    child.once("message", (message) => ready(message as number));
    child.once("exit", (code) => failed(new Error(`the instance ended with ${code}`)));
  });
  return { process: child, url: `http://127.0.0.1:${port}` };
}

async function connected(user: string, index: number): Promise<Socket> {
  const cookie = `login=${user}:login-of-${user}`;
  const instance = instances[index % instances.length]?.url;
  const answer = await fetch(`${instance}/api/ws-token`, {
    method: "POST",
    headers: { cookie, origin: ORIGIN },
  });
  const { token } = (await answer.json()) as { token: string };
  const url = new URL(gateway.url);
  url.searchParams.set("ws_token", token);
  url.searchParams.set("channel", "rooms/all");
  return Socket.open(url, { cookie, origin: ORIGIN });
}

/** Calls `ask` once on each connection and returns the answers of the instances. */
async function callAll(): Promise<{ ok: unknown; status: unknown; result: unknown }[]> {
  return (await Promise.all(sockets.map((socket) => socket.call("ask")))) as never;
}

test("events of one connection go to any instance, and a revocation applies to all instances", async () => {
  const answers = [...(await callAll()), ...(await callAll())];
  expect(answers.every(({ ok }) => ok)).toBe(true);
  expect(new Set(answers.map(({ result }) => result))).toEqual(
    new Set(instances.map((instance) => instance.process.pid)),
  );
  await sockets[0]?.call("say", { text: "hello" });
  await Promise.all(sockets.map((socket) => socket.message("said")));

  await here.access.revoke({ group: "Crew" }, chat.can_use_chat);
  const closed = await Promise.all(sockets.map((socket) => socket.closed));
  expect(closed.map(({ code }) => code)).toEqual(PEOPLE.map(() => 1000));
  expect(sockets.every((socket) => socket.received.some(({ type }) => type === "sallyport.revoked"))).toBe(
    true,
  );
});

test("a permission that was deleted by SQL is denied by every instance", async () => {
  await sqlAt(database.source, "delete from sallyport_group_permissions");
  const answers = await callAll();
  expect(answers.map(({ status }) => status)).toEqual(PEOPLE.map(() => 403));
});

test("killing an instance under load loses no connection and no stored message", async () => {
  const acknowledged: string[] = [];
  let isOver = false;
  const load = sockets.map(async (socket, index) => {
    for (let count = 0; !isOver; count++) {
      const [text, before] = [`${index}-${count}`, socket.received.length];
      socket.send({ handler: "say", text, id: text });
      // The gateway answers a call of the killed instance without its id.
      const answer = await socket.next(
        (frame) => frame.id === text || ("connectionId" in frame && socket.received.indexOf(frame) >= before),
      );
      if (answer.ok) acknowledged.push(text);
    }
  });
  await expect.poll(() => acknowledged.length).toBeGreaterThan(50);
  const [killed] = instances;
  killed?.process.kill("SIGKILL");
  const before = acknowledged.length;
  await expect.poll(() => acknowledged.length).toBeGreaterThan(before + 50);
  isOver = true;
  await Promise.all(load);
  const rows = await sqlAt(database.source, "select text from story_messages");
  const stored = new Set(rows.map((row) => (row as { text: string }).text));
  expect(acknowledged.filter((text) => !stored.has(text))).toEqual([]);
  expect(sockets.filter((socket) => socket.isClosed)).toEqual([]);
  expect(await here.listConnections({ limit: 1000 })).toHaveLength(PEOPLE.length);
  expect((await callAll()).every(({ ok }) => ok)).toBe(true);

  // No revocation was lost either.
  await here.access.revoke({ group: "Crew" }, chat.can_use_chat);
  await Promise.all(sockets.map((socket) => socket.closed));
});

test("a revocation of an instance that died is completed by the other instances", async () => {
  await sqlAt(
    database.source,
    `delete from sallyport_group_permissions;
    insert into sallyport_revocations (id, scope, subject, created_at, claimed_by, claimed_until)
      values ('left', 'group', 'Crew', 1, 'who died', 1)`,
  );
  await Promise.all(sockets.map((socket) => socket.closed));
  await expect.poll(async () => sqlAt(database.source, "select id from sallyport_revocations")).toEqual([]);
});
