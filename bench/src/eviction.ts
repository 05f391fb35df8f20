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
const AT_ONCE = 50;
const LOGIN = "x-bench-user";

const chat = definePermissions("chat", { use: "Use" });
class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  ping = handler(() => "pong");
}

if (process.argv[2] === "outside") await outside(process.argv[3] as string, process.argv[4] as string);

/**
 * Revoke → last of 1 000 sockets closed, of 1 000 users who had the right through one group: from the call of `revoke()` to
 * the last close event at the sockets' other ends. Two instances share the database: the one that serves, and another; they
 * revoke in turn. Gateway and clients are real, in a process of their own.
 */
export async function evictionTimes(rounds: number): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const instance = () =>
    createSallyport({
      onDecision: () => undefined,
      storage: sqlite(join(folder, "bench.db")),
      permissions: [chat],
      views: { "/ws/chat": ChatView },
      allowMissingOrigin: true,
      authenticate: (request) => {
        const userId = request.headers.get(LOGIN);
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
  const [serving, other] = [instance(), instance()];
  await serving.migrate();
  const server = createServer(nodeListener(serving));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const appUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const secret = gatewaySecret();
  const child = fork(fileURLToPath(import.meta.url), ["outside", appUrl, secret]);
  const { apiId, endpoint } = (await told(child)) as { apiId: string; endpoint: string };
  await serving.registerGateway({ name: "local", apiId, endpoint, secret });
  for (let user = 0; user < SOCKETS; user++) await serving.access.users.addToGroup(`user-${user}`, "Crew");

  const readings: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await serving.access.grant({ group: "Crew" }, chat.use);
    child.send("connect");
    await told(child);
    const closed = told(child);
    const begun = process.hrtime.bigint();
    const revoking = (round % 2 === 0 ? serving : other).access.revoke({ group: "Crew" }, chat.use);
    readings.push(Number(BigInt((await closed) as string) - begun) / 1_000_000);
    await revoking;
  }
  child.kill();
  server.closeAllConnections();
  server.close();
  await serving.close();
  await other.close();
  await rm(folder, { recursive: true, force: true });
  return [
    figure("revoke → last of 1 000 sockets closed", "ms", readings),
    figure(`the same, p99 of ${rounds} rounds`, "ms", [p99(readings)], 500),
  ];
}

function told(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once("message", resolve));
}

/** The gateway and the thousand clients: connects them when asked, and tells when the last has been closed. */
async function outside(appUrl: string, secret: string): Promise<void> {
  const gateway = await startLocalGateway({ target: `${appUrl}/ws/chat/`, port: 0, secret });
  const connect = async (user: string) => {
    const response = await fetch(`${appUrl}/api/ws-token`, { method: "POST", headers: { [LOGIN]: user } });
    const { token } = (await response.json()) as { token: string };
    const socket = new WebSocket(`${gateway.url}?ws_token=${token}`, { headers: { [LOGIN]: user } });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return socket;
  };
  process.on("message", async () => {
    const sockets: WebSocket[] = [];
    for (let from = 0; from < SOCKETS; from += AT_ONCE) {
      const users = Array.from({ length: AT_ONCE }, (_, index) => `user-${from + index}`);
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
