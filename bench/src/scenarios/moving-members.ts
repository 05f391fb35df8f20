import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createSallyport, defineChannel, handler, type Sallyport, WebSocketView } from "sallyport";
import { chat, connectionIdAt, insertConnections, prepareDatabase, SECRET } from "../bench-app.js";
import { postgresDatabase } from "../database.js";
import { EVENT_OPTIONS } from "../event-app.js";
import { type Figure, figure, p99 } from "../figures.js";
import { p95 } from "../gateway-process.js";
import { internalsOf } from "../internals.js";
import { startServer } from "../postgres-server.js";

/** Number of clients that move between channels. */
const MOVERS = 60;
/** Duration of a measurement of connects, in milliseconds. */
const MEASURED_MS = 6000;
/** Time between two connects, in milliseconds. */
const CONNECT_INTERVAL_MS = 25;
const REVOCATIONS = 40;

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  move = handler(async ({ body, move }) => move((body as { room: string }).room));
}

/**
 * Measures connects and revocations on PostgreSQL, in milliseconds, while 60 members move between
 * channels without a pause.
 */
export async function movingMembers(): Promise<readonly Figure[]> {
  const server = await startServer();
  const storage = postgresDatabase(server.url);
  let onClose: (() => void) | undefined;
  const managementApi = createServer((incoming, response) => {
    if (incoming.method === "DELETE") onClose?.();
    incoming.resume().on("end", () => response.end());
  });
  await new Promise<void>((done) => managementApi.listen(0, "127.0.0.1", done));
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
  await prepareDatabase(
    app,
    storage,
    `http://127.0.0.1:${(managementApi.address() as AddressInfo).port}/dev`,
  );
  await insertConnections(storage, 1, MOVERS + 1);
  internalsOf(app).start();

  const quiet = await connectTimes(app);
  let isMoving = true;
  const movers = Array.from({ length: MOVERS }, async (_, mover) => {
    for (let n = 0; isMoving; n++) {
      await sendEvent(app, "default", connectionIdAt(mover + 1), {
        handler: "move",
        room: `rooms/r${n % 5}`,
      });
    }
  });
  const busy = await connectTimes(app);
  const revokedUser = `u${((MOVERS + 1) % 1000) + 1}`;
  const revocations: number[] = [];
  for (let round = 0; round < REVOCATIONS; round++) {
    await storage.db
      .updateTable("sallyport_connections")
      .set({ closed_at: null, close_reason: null, disconnected_at: null })
      .where("connection_id", "=", connectionIdAt(MOVERS + 1))
      .execute();
    await app.access.users.addToGroup(revokedUser, "Members");
    const closing = new Promise<void>((resolve) => {
      onClose = resolve;
    });
    const startedAt = performance.now();
    const revoking = app.access.users.removeFromGroup(revokedUser, "Members");
    await closing;
    revocations.push(performance.now() - startedAt);
    await revoking;
  }
  isMoving = false;
  await Promise.all(movers);
  await app.close();
  managementApi.closeAllConnections();
  managementApi.close();
  await server.stop();
  return [
    figure("connect, p95, no member moves", "ms", [p95(quiet)]),
    figure(`connect, p95, ${MOVERS} members move`, "ms", [p95(busy)], 2 * p95(quiet)),
    figure(`revoke → connection closed, p99, ${MOVERS} members move`, "ms", [p99(revocations)], 500),
  ];
}

/** Returns the time of each token request with its connect, in milliseconds. */
async function connectTimes(app: Sallyport): Promise<number[]> {
  const times: number[] = [];
  const running: Promise<void>[] = [];
  const until = performance.now() + MEASURED_MS;
  for (let n = 0; performance.now() < until; n++) {
    const connectOne = async () => {
      const startedAt = performance.now();
      const response = await app.fetch(
        new Request("http://bench/api/ws-token", {
          method: "POST",
          headers: { "x-user": `u${(n % 900) + 100}` },
        }),
      );
      if (response?.status !== 200) throw new Error(`A token request returned status ${response?.status}.`);
      const { token } = (await response.json()) as { token: string };
      const id = `${randomBytes(11).toString("base64url")}=`;
      await sendEvent(app, `connect?ws_token=${token}`, id, undefined);
      times.push(performance.now() - startedAt);
    };
    running.push(connectOne());
    await sleep(CONNECT_INTERVAL_MS);
  }
  await Promise.all(running);
  return times;
}

async function sendEvent(app: Sallyport, route: string, connectionId: string, body: object | undefined) {
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
