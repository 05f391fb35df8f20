import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { defineChannel, handler, WebSocketView } from "sallyport";
import { nodeListener } from "sallyport/adapters/node";
import { gatewaySecret } from "sallyport/aws";
import type { Database } from "../../build/storage/database.js";
import { benchApp, chat } from "./bench-app.js";
import { postgresDatabase, sqliteDatabase } from "./database.js";
import { startServer } from "./postgres-server.js";
import { serverCpuMs } from "./server-cpu.js";
import { type Command, type LoadResult, runClients } from "./soak/clients.js";
import { FailingEndpoint } from "./soak/failing-endpoint.js";
import { type Failure, FailureCounts } from "./soak/failures.js";
import { Faults } from "./soak/faults.js";
import { Progress } from "./soak/progress.js";
import { findGrowth, type Readings, resources, rssMiB } from "./soak/readings.js";
import { USER_HEADER } from "./soak/soak-client.js";
import { Stalls } from "./soak/stalls.js";
import { TcpProxy } from "./tcp-proxy.js";

/**
 * `npm run soak`: runs clients that join, leave, send, disconnect, reconnect and lose their
 * permission, at a third of the measured peak rate.
 *
 * By default it runs on SQLite for ten minutes. `--minutes 30` sets the duration. `--faults` runs
 * on PostgreSQL and injects faults. Database connections are reset, dropped or refused, the gateway
 * returns 429 or 500, and clients stop reading.
 *
 * The exit code is 1 in each of these cases:
 *
 * - A call or a background task failed and no fault explains it, or too many failed.
 * - Too few calls succeeded, because users had no permission or no connection.
 * - At the end, a group without the permission has connections, or too few other clients are
 *   connected.
 * - At the end, the connections in the database differ from those of the clients.
 * - Memory grew, or the number of open resources after the load grew.
 */
const SOCKETS = Number(process.env.SOAK_SOCKETS ?? 2000);
/** Number of groups. The permission of one group at a time is revoked. */
const GROUPS = 20;
const WARM_UP_SHARE = 0.25;
/**
 * Load as a share of the measured peak rate. The process needs the rest for the backlog after a
 * fault and for retries after 429. Otherwise it would reject calls because it is overloaded.
 */
const LOAD_SHARE = 1 / 3;
/**
 * Size of a message in a run with faults. It soon fills the buffers of a client that does not read.
 */
const FAULTY_TEXT_BYTES = 8192;
/**
 * Maximum delay of the report of repeated errors, in milliseconds. Source: src/error-reporter.ts.
 */
const REPORT_DELAY_MS = 60_000;
/** Maximum time until rows and open connections match after the load, in milliseconds. */
const MATCH_TIMEOUT_MS = 60_000;
/** Minimum share of calls that succeed. */
const MIN_SUCCEEDED = 0.85;
/**
 * Maximum share of calls that fail. One fault in six drops the database connections silently. Calls
 * then fail for up to 6 s, until the process has replaced the connections and handled the backlog.
 */
const MAX_FAILED = 0.06;
/** Maximum number of problems that are printed. */
const MAX_PROBLEMS = 30;
/** Maximum number of kinds of failures that are printed. */
const MAX_KINDS = 15;

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  ping = handler(() => "pong");
  // A client is in one channel at a time, so that the work of a message does not grow with time.
  join = handler(async ({ body, move }) => {
    await move(String((body as { room: unknown }).room));
  });
  leave = handler(async ({ leave }) => leave());
  say = handler(async ({ connection, to, body }) => {
    const { text } = body as { text: string };
    if (connection.channel) await to({ channel: connection.channel }).send({ type: "said", text });
  });
}

/** The database of the app. */
interface Storage {
  readonly storage: Database;
  /** The proxy between the app and a database server. */
  readonly proxy?: TcpProxy;
  /** Returns the processor time of a database server, in milliseconds. */
  readonly cpuMs?: () => Promise<number>;
  close(): Promise<void>;
}

async function openSqlite(): Promise<Storage> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-soak-"));
  return {
    storage: sqliteDatabase(join(folder, "soak.db")),
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

async function openPostgres(): Promise<Storage> {
  const server = await startServer();
  const proxy = await TcpProxy.open(new URL(server.url));
  return {
    storage: postgresDatabase(proxy.through(server.url)),
    proxy,
    cpuMs: () => serverCpuMs(server.url),
    close: async () => {
      await proxy.close();
      await server.stop();
    },
  };
}

async function soak(minutes: number, withFaults: boolean): Promise<void> {
  const { storage, proxy, cpuMs, close } = withFaults ? await openPostgres() : await openSqlite();
  const failures = new FailureCounts();
  const app = benchApp(storage, {
    channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
    views: { "/ws/chat": ChatView },
    authenticate: (request) => {
      const userId = request.headers.get(USER_HEADER);
      return userId === null ? null : { userId };
    },
    onError: (error, operation) => failures.add(`${operation}: ${formatError(error)}`, REPORT_DELAY_MS),
  });
  await app.migrate();
  for (let user = 0; user < SOCKETS; user++)
    await app.access.users.addToGroup(`user-${user}`, `Group ${user % GROUPS}`);
  for (let n = 0; n < GROUPS; n++) await app.access.grant({ group: `Group ${n}` }, chat.use);
  const server = createServer(nodeListener(app));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const appUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const secret = gatewaySecret();
  const clients = fork(fileURLToPath(import.meta.url), [
    "clients",
    appUrl,
    secret,
    String(withFaults ? FAULTY_TEXT_BYTES : 20),
  ]);
  let isStopping = false;
  clients.once("exit", (code, signal) => {
    if (isStopping) return;
    console.error(`The process of the gateway and the clients exited with ${code ?? signal}.`);
    process.exit(1);
  });
  const sendCommand = (command: Command) => clients.send(command);
  const { apiId, endpoint } = (await nextMessage(clients)) as { apiId: string; endpoint: string };
  const failing = withFaults ? await FailingEndpoint.open(endpoint) : undefined;
  await app.registerGateway({ name: "soak", apiId, endpoint: failing?.url ?? endpoint, secret });

  sendCommand({ do: "connect" });
  await nextMessage(clients);
  sendCommand({ do: "measure peak" });
  const peak = (await nextMessage(clients)) as number;
  const rate = Math.round(peak * LOAD_SHARE);
  console.log(`${SOCKETS} clients, peak ${peak.toFixed(0)} calls/s, ${minutes} min at ${rate} calls/s`);

  const faults =
    proxy &&
    failing &&
    new Faults(proxy, failing, (durationMs) => sendCommand({ do: "stop reading", durationMs }));
  const runPhase = async (durationMs: number): Promise<{ app: Readings; clients: LoadResult }> => {
    const memory: number[] = [];
    const until = performance.now() + durationMs;
    sendCommand({ do: "run load", rate, durationMs });
    const load = nextMessage(clients) as Promise<LoadResult>;
    const injection = faults?.run(until);
    while (performance.now() < until) {
      await revokeAndGrant();
      memory.push(rssMiB());
      await sleep((minutes * 60_000) / 60);
    }
    await injection;
    const result = await load;
    return { app: { rssMiB: memory, idle: resources() }, clients: result };
  };
  let revocations = 0;
  /** Revokes the permission of one group and grants it again. Retries a change that failed. */
  const revokeAndGrant = async () => {
    const group = { group: `Group ${revocations++ % GROUPS}` };
    await retry("revoke", () => app.access.revoke(group, chat.use));
    await retry("grant", () => app.access.grant(group, chat.use));
    if (revocations % 10 === 0) await retry("cleanup", () => app.cleanup());
  };
  const retry = async (name: string, change: () => Promise<unknown>) => {
    for (;;) {
      try {
        await change();
        return;
      } catch (error) {
        failures.add(`${name}: ${formatError(error)}`);
        await sleep(100);
      }
    }
  };

  const stalls = new Stalls();
  const progress = new Progress("app", {}, cpuMs ? { PostgreSQL: cpuMs } : {});
  const warmUp = await runPhase(minutes * 60_000 * WARM_UP_SHARE);
  const main = await runPhase(minutes * 60_000 * (1 - WARM_UP_SHARE));
  const lastGroup = { group: "Group 0" };
  await retry("revoke", () => app.access.revoke(lastGroup, chat.use));
  const connectedUsers = async () => {
    sendCommand({ do: "report connected users" });
    return (await nextMessage(clients)) as readonly string[];
  };
  // Otherwise, a slow machine ends the load with more closed clients than a fast one.
  sendCommand({ do: "reconnect" });
  await nextMessage(clients);
  const mismatches = await findMismatches(storage, connectedUsers);
  isStopping = true;
  clients.kill();
  server.closeAllConnections();
  server.close();
  failing?.close();
  await app.close();
  await close();

  const succeeded = warmUp.clients.succeeded + main.clients.succeeded;
  const denied = warmUp.clients.denied + main.clients.denied;
  console.log(
    `${succeeded} calls succeeded, ${denied} denied, ${revocations} revocations of ${SOCKETS / GROUPS} users each`,
  );
  for (const line of faults?.summary() ?? []) console.log(line);
  const failed = [...failures.take(), ...warmUp.clients.failures, ...main.clients.failures];
  const unexplained = faults?.unexplained(failed) ?? failed;
  const total = failed.reduce((sum, { count }) => sum + count, 0);
  console.log(
    `${total} failures, ${unexplained.reduce((sum, { count }) => sum + count, 0)} not explained by a fault`,
  );
  for (const line of summarizeKinds(failed)) console.log(line);
  const share = succeeded / (succeeded + denied + total);
  const problems = [
    ...(share < MIN_SUCCEEDED ? [`only ${(100 * share).toFixed(1)} % of the calls succeeded`] : []),
    ...(total > MAX_FAILED * succeeded
      ? [`${total} failures exceed the limit, including explained ones`]
      : []),
    ...unexplained.map(({ at, message, count }) => `${new Date(at).toISOString()} ${count} × ${message}`),
    ...mismatches,
    ...findGrowth("app", minutes, warmUp.app, main.app),
    ...findGrowth("gateway and clients", minutes, warmUp.clients, main.clients),
  ];
  if (problems.length > 0) for (const line of faults?.timeline() ?? []) console.error(line);
  for (const line of [...stalls.report("the app"), ...warmUp.clients.stalls, ...main.clients.stalls])
    console.log(line);
  stalls.stop();
  progress.stop();
  for (const problem of problems.slice(0, MAX_PROBLEMS)) console.error(problem);
  console.log(
    problems.length === 0 ? "The soak found no problems." : `The soak found ${problems.length} problems.`,
  );
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/**
 * Waits until the open connections in the database match those of the clients, and group 0 has
 * none.
 *
 * @param connectedUsers returns the ids of the connected users
 * @returns the mismatches after {@link MATCH_TIMEOUT_MS}, or an empty list
 */
async function findMismatches(
  storage: Database,
  connectedUsers: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const isInGroup0 = (user: string) => Number(user.slice("user-".length)) % GROUPS === 0;
  const until = performance.now() + MATCH_TIMEOUT_MS;
  for (;;) {
    const rows = await storage.db
      .selectFrom("sallyport_connections")
      .select(["user_id", "closed_at"])
      .where("disconnected_at", "is", null)
      .execute();
    const open = new Set(await connectedUsers());
    const users = new Set(rows.map(({ user_id: user }) => user ?? ""));
    const problems = [
      ...rows
        .filter(({ closed_at: closed }) => closed !== null)
        .map(({ user_id: user }) => `the connection of ${user} has lost access and is not closed`),
      ...[...open].filter((user) => !users.has(user)).map((user) => `the connection of ${user} has no row`),
      ...[...users].filter((user) => !open.has(user)).map((user) => `the row of ${user} has no connection`),
      ...[...open].filter(isInGroup0).map((user) => `${user} is connected without the permission`),
    ];
    const expected = (SOCKETS * (GROUPS - 1)) / GROUPS;
    if (open.size < 0.8 * expected) problems.push(`only ${open.size} of ${expected} clients are connected`);
    if (problems.length === 0 || performance.now() > until) return problems;
    await sleep(1000);
  }
}

/** Returns a line for each kind of failure, the most frequent first. */
function summarizeKinds(failed: readonly Failure[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const { message, count } of failed) counts.set(message, (counts.get(message) ?? 0) + count);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, MAX_KINDS)
    .map(([message, count]) => `  ${count} × ${message.slice(0, 160)}`);
}

function formatError(error: unknown): string {
  const { code = "", message = String(error) } = error as { code?: string; message?: string };
  return `${code} ${message}`.trim();
}

function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once("message", resolve));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: "string", default: "10" }, faults: { type: "boolean", default: false } },
});
const [role, appUrl = "", secret = "", textBytes] = positionals;
if (role === "clients") await runClients(SOCKETS, { appUrl, secret, textBytes: Number(textBytes) });
else await soak(Number(values.minutes), values.faults);
