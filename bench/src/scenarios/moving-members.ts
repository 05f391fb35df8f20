import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createSallyport, defineChannel, handler, type Sallyport, WebSocketView } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { chat, connectionOf, openSessions, prepare, SECRET } from "../bench-app.js";
import { EVENT_OPTIONS } from "../event-app.js";
import { type Figure, figure, p99 } from "../figures.js";
import { p95 } from "../gateway-process.js";
import { internalsOf } from "../internals.js";
import { startServer } from "../postgres-server.js";

/** Clients that move from one channel to another all the time. */
const MOVERS = 60;
/** Length of a measurement of connects, in milliseconds. */
const MEASURED_MS = 6000;
/** Time between two connects, in milliseconds. */
const CONNECT_EVERY_MS = 25;
const REVOCATIONS = 40;

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  move = handler(async ({ body, move }) => move((body as { room: string }).room));
}

/** Measures connects and revocations on PostgreSQL while 60 members move between channels as fast as they can. */
export async function movingMembers(): Promise<readonly Figure[]> {
  const server = await startServer();
  const storage = postgres(server.url);
  let closed: (() => void) | undefined;
  const gateway = createServer((incoming, response) => {
    if (incoming.method === "DELETE") closed?.();
    incoming.resume().on("end", () => response.end());
  });
  await new Promise<void>((done) => gateway.listen(0, "127.0.0.1", done));
  const app = createSallyport({
    storage,
    permissions: [chat],
    channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: (request) => ({ userId: request.headers.get("x-user") ?? "" }),
    decisionLog: { sampleAllowed: 0 },
    onDecision: () => undefined,
    ...EVENT_OPTIONS,
  });
  await prepare(app, storage, `http://127.0.0.1:${(gateway.address() as AddressInfo).port}/dev`);
  await openSessions(storage, 1, MOVERS + 1);
  internalsOf(app).start();

  const quiet = await connectTimes(app);
  let isMoving = true;
  const movers = Array.from({ length: MOVERS }, async (_, mover) => {
    for (let n = 0; isMoving; n++) {
      await event(app, "default", connectionOf(mover + 1), { handler: "move", room: `rooms/r${n % 5}` });
    }
  });
  const busy = await connectTimes(app);
  const revoked = `u${((MOVERS + 1) % 1000) + 1}`;
  const revocations: number[] = [];
  for (let round = 0; round < REVOCATIONS; round++) {
    await storage.db
      .updateTable("sallyport_connections")
      .set({ closed_at: null, close_reason: null, disconnected_at: null })
      .where("connection_id", "=", connectionOf(MOVERS + 1))
      .execute();
    await app.access.users.addToGroup(revoked, "Crew");
    const closing = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const begun = performance.now();
    const revoking = app.access.users.removeFromGroup(revoked, "Crew");
    await closing;
    revocations.push(performance.now() - begun);
    await revoking;
  }
  isMoving = false;
  await Promise.all(movers);
  await app.close();
  gateway.closeAllConnections();
  gateway.close();
  await server.stop();
  return [
    figure("connect, p95, no member moves", "ms", [p95(quiet)]),
    figure(`connect, p95, ${MOVERS} members move`, "ms", [p95(busy)], 2 * p95(quiet)),
    figure("revoke → connection closed, p99, meanwhile", "ms", [p99(revocations)], 500),
  ];
}

/** Milliseconds of each connect with a token. */
async function connectTimes(app: Sallyport): Promise<number[]> {
  const times: number[] = [];
  const running: Promise<void>[] = [];
  const until = performance.now() + MEASURED_MS;
  for (let n = 0; performance.now() < until; n++) {
    const connectOne = async () => {
      const begun = performance.now();
      const response = await app.fetch(
        new Request("http://bench/api/ws-token", {
          method: "POST",
          headers: { "x-user": `u${(n % 900) + 100}` },
        }),
      );
      if (response?.status !== 200) throw new Error(`A token request was answered with ${response?.status}.`);
      const { token } = (await response.json()) as { token: string };
      const id = `${randomBytes(11).toString("base64url")}=`;
      await event(app, `connect?ws_token=${token}`, id, undefined);
      times.push(performance.now() - begun);
    };
    running.push(connectOne());
    await sleep(CONNECT_EVERY_MS);
  }
  await Promise.all(running);
  return times;
}

async function event(app: Sallyport, route: string, connectionId: string, body: object | undefined) {
  const response = await app.fetch(
    new Request(`http://bench/ws/chat/${route}`, {
      method: "POST",
      headers: { connectionId, "x-sallyport-secret": SECRET, "x-sallyport-source-ip": "192.0.2.1" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  if (response?.status !== 200) throw new Error(`${route}: ${response?.status} ${await response?.text()}`);
  await response.arrayBuffer();
}
