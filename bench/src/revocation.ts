import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createSallyport, definePermissions, handler, WebSocketView } from "sallyport";
import { nodeListener } from "sallyport/adapters/node";
import { gatewaySecret } from "sallyport/aws";
import { startLocalGateway } from "sallyport/local";
import { sqlite } from "sallyport/storage/sqlite";
import WebSocket from "ws";
import { type Figure, figure, p99 } from "./figures.js";

const SOCKETS = 1000;
/** Number of sockets that connect at the same time. */
const BATCH_SIZE = 50;
/** The header that identifies the user of a token request. */
const USER_HEADER = "x-bench-user";

const chat = definePermissions("chat", { use: "Use" });
class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  ping = handler(() => "pong");
}

if (process.argv[2] === "clients") await runClients(process.argv[3] as string, process.argv[4] as string);

/**
 * Measures the time from a call of `revoke()` until 1 000 clients have received the close event, in
 * milliseconds. The clients are 1 000 users who have the permission through one group.
 *
 * Two instances share the database, and only one receives events. They revoke in alternation. The
 * local gateway and the clients run in a child process.
 *
 * @param rounds number of revocations
 */
export async function revocationTimes(rounds: number): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const createInstance = () =>
    createSallyport({
      onDecision: () => undefined,
      storage: sqlite(join(folder, "bench.db")),
      permissions: [chat],
      views: { "/ws/chat": ChatView },
      allowMissingOrigin: true,
      authenticate: (request) => {
        const userId = request.headers.get(USER_HEADER);
        return userId === null ? null : { userId };
      },
      limits: {
        connectsPerUser: false,
        connectionsPerUser: false,
        connectsPerIp: false,
        failedConnectsPerIp: false,
        tokensPerUser: false,
      },
    });
  const [serving, other] = [createInstance(), createInstance()];
  await serving.migrate();
  const server = createServer(nodeListener(serving));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const appUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const secret = gatewaySecret();
  const child = fork(fileURLToPath(import.meta.url), ["clients", appUrl, secret]);
  const { apiId, endpoint } = (await nextMessage(child)) as { apiId: string; endpoint: string };
  await serving.registerGateway({ name: "local", apiId, endpoint, secret });
  for (let user = 0; user < SOCKETS; user++) await serving.access.users.addToGroup(`user-${user}`, "Members");

  const readings: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await serving.access.grant({ group: "Members" }, chat.use);
    child.send("connect");
    await nextMessage(child);
    const closed = nextMessage(child);
    const startedAt = process.hrtime.bigint();
    const revoking = (round % 2 === 0 ? serving : other).access.revoke({ group: "Members" }, chat.use);
    readings.push(Number(BigInt((await closed) as string) - startedAt) / 1_000_000);
    await revoking;
  }
  child.kill();
  server.closeAllConnections();
  server.close();
  await serving.close();
  await other.close();
  await rm(folder, { recursive: true, force: true });
  return [
    figure("revoke → last of 1 000 connections closed", "ms", readings),
    figure(`revoke → last of 1 000 connections closed, p99 of ${rounds} rounds`, "ms", [p99(readings)], 500),
  ];
}

function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once("message", resolve));
}

/**
 * Runs the local gateway and the clients. Each message from the parent process connects all
 * clients. Sends the time of the last close event, in nanoseconds.
 */
async function runClients(appUrl: string, secret: string): Promise<void> {
  const gateway = await startLocalGateway({ target: `${appUrl}/ws/chat/`, port: 0, secret });
  const connect = async (user: string) => {
    const response = await fetch(`${appUrl}/api/ws-token`, {
      method: "POST",
      headers: { [USER_HEADER]: user },
    });
    const { token } = (await response.json()) as { token: string };
    const socket = new WebSocket(`${gateway.url}?ws_token=${token}`, { headers: { [USER_HEADER]: user } });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return socket;
  };
  process.on("message", async () => {
    const sockets: WebSocket[] = [];
    for (let from = 0; from < SOCKETS; from += BATCH_SIZE) {
      const users = Array.from({ length: BATCH_SIZE }, (_, index) => `user-${from + index}`);
      sockets.push(...(await Promise.all(users.map(connect))));
    }
    const closed = Promise.all(
      sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve))),
    );
    process.send?.("connected");
    await closed;
    process.send?.(String(process.hrtime.bigint()));
  });
  process.send?.({ apiId: gateway.apiId, endpoint: gateway.endpoint });
}
