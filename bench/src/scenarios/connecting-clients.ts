import { createHash, randomBytes } from "node:crypto";
import type { Sallyport } from "sallyport";
import { benchApp, prepareDatabase, SECRET, USERS } from "../bench-app.js";
import { postgresDatabase } from "../database.js";
import { type Figure, figure } from "../figures.js";
import { startServer } from "../postgres-server.js";
import { serverCpuMs } from "../server-cpu.js";

/** Number of connects in a round. */
const CONNECTS = 1500;
/** Number of connects in flight at the same time. */
const CONCURRENCY = 32;
const ROUNDS = 7;
/** Maximum processor time of PostgreSQL for a connect, in milliseconds. */
const MAX_CPU_MS = 0.8;

/**
 * Measures the time and the PostgreSQL processor time of `$connect` with a token and a channel, in
 * milliseconds. PostgreSQL writes durably.
 */
export async function connectingClients(): Promise<readonly Figure[]> {
  const server = await startServer(true);
  const storage = postgresDatabase(server.url);
  const app = benchApp(storage, {
    authenticate: (request) => {
      const userId = request.headers.get("x-user");
      return userId === null ? null : { userId };
    },
  });
  await prepareDatabase(app, storage);
  const perConnect: number[] = [];
  const cpu: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const tokens = await issueTokens(app);
    const cpuBefore = await serverCpuMs(server.url);
    const startedAt = performance.now();
    await runConcurrently(tokens, ({ user, token }) => connect(app, user, token));
    const ms = performance.now() - startedAt;
    // The first round fills caches.
    if (round === 0) continue;
    perConnect.push(ms / CONNECTS);
    cpu.push(((await serverCpuMs(server.url)) - cpuBefore) / CONNECTS);
  }
  await app.close();
  await server.stop();
  return [
    figure(`$connect on PostgreSQL, ${CONCURRENCY} at the same time`, "ms/connect", perConnect),
    figure("processor time of PostgreSQL", "ms/connect", cpu, MAX_CPU_MS),
  ];
}

interface Issued {
  readonly user: string;
  readonly token: string;
}

async function issueTokens(app: Sallyport): Promise<Issued[]> {
  const users = Array.from({ length: CONNECTS }, (_, n) => `u${(n % USERS) + 1}`);
  const issued: Issued[] = [];
  await runConcurrently(users, async (user) => {
    const response = await app.fetch(
      new Request("http://bench/api/ws-token", { method: "POST", headers: { "x-user": user } }),
    );
    if (response?.status !== 200) throw new Error(`A token request returned status ${response?.status}.`);
    const { token } = (await response.json()) as { token: string };
    issued.push({ user, token });
  });
  return issued;
}

async function connect(app: Sallyport, user: string, token: string): Promise<void> {
  const connectionId = `${randomBytes(11).toString("base64url")}=`;
  const hash = createHash("sha256").update(token).digest("hex");
  const headers = {
    connectionId,
    "x-user": user,
    "x-sallyport-secret": SECRET,
    "x-sallyport-source-ip": `10.0.0.${Number.parseInt(hash.slice(0, 2), 16)}`,
  };
  const url = `http://bench/ws/chat/connect?channel=rooms/all&ws_token=${token}`;
  const response = await app.fetch(new Request(url, { method: "POST", headers }));
  if (response?.status !== 200) throw new Error(`connect: ${response?.status} ${await response?.text()}`);
  await response.arrayBuffer();
}

async function runConcurrently<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const remaining = [...items];
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      for (let item = remaining.pop(); item !== undefined; item = remaining.pop()) await work(item);
    }),
  );
}
