import { type ChildProcess, fork } from "node:child_process";
import { resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { definePermissions } from "../../src/access/permissions.ts";
import { gatewaySecret } from "../../src/gateways/gateways.ts";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { WebSocketView } from "../../src/view/view.ts";
import { ORIGIN, Socket } from "../stories/world.ts";
import { emptyDatabase, sqlAt, storageAt, type TestDatabase } from "./database.ts";

const root = resolve(import.meta.dirname, "../..");
const chat = definePermissions("chat", { can_use_chat: "Can use chat" });
const PEOPLE = Array.from({ length: 12 }, (_, index) => `user-${index}`);

/** Answers with the view's rule as the instances have it, and serves nothing. */
class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  static override receiveOnly = true;
}

let database: TestDatabase;
let storage: Database;
/** An instance in this process that serves nobody: changes come from here. */
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
  for (const user of PEOPLE) await here.access.addToGroup(user, "Crew");
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
    env: { ...process.env, STORY_DATABASE: database.source },
  });
  const port = await new Promise<number>((told, failed) => {
    child.once("message", (message) => told(message as number));
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

/** What the instances answer to everybody, once. */
async function asked(): Promise<{ ok: unknown; status: unknown; result: unknown }[]> {
  return (await Promise.all(sockets.map((socket) => socket.call("ask")))) as never;
}

test("events of one socket go to any instance, and a right that ends anywhere ends at all of them", async () => {
  const answers = [...(await asked()), ...(await asked())];
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

test("a right taken behind everybody's back is refused by the next statement of every instance", async () => {
  await sqlAt(database.source, "delete from sallyport_group_permissions");
  const answers = await asked();
  expect(answers.map(({ status }) => status)).toEqual(PEOPLE.map(() => 403));
});

test("an instance killed under load takes no session and no stored message with it", async () => {
  const acknowledged: string[] = [];
  let isOver = false;
  const load = sockets.map(async (socket, index) => {
    for (let count = 0; !isOver; count++) {
      const [text, before] = [`${index}-${count}`, socket.received.length];
      socket.send({ handler: "say", text, id: text });
      // The gateway answers a call that was with the killed instance, without its id.
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
  expect(await here.listSessions({ limit: 1000 })).toHaveLength(PEOPLE.length);
  expect((await asked()).every(({ ok }) => ok)).toBe(true);

  // And nobody's eviction was lost with it.
  await here.access.revoke({ group: "Crew" }, chat.can_use_chat);
  await Promise.all(sockets.map((socket) => socket.closed));
});

test("a change whose instance dies before it has told anybody is carried out by the others", async () => {
  await sqlAt(
    database.source,
    `delete from sallyport_group_permissions;
    insert into sallyport_evictions (id, scope, subject, created_at, claimed_by, claimed_until)
      values ('left', 'group', 'Crew', 1, 'who died', 1)`,
  );
  await Promise.all(sockets.map((socket) => socket.closed));
  await expect.poll(async () => sqlAt(database.source, "select id from sallyport_evictions")).toEqual([]);
});
