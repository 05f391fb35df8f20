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
import { postgres } from "sallyport/storage/postgres";
import type { Database } from "sallyport/storage/sqlite";
import { sqlite } from "sallyport/storage/sqlite";
import { benchApp, chat } from "./bench-app.js";
import { startServer } from "./postgres-server.js";
import { serverCpuMs } from "./server-cpu.js";
import { FailingEndpoint } from "./soak/failing-endpoint.js";
import { type Failure, FailureCounts } from "./soak/failures.js";
import { Faults } from "./soak/faults.js";
import { type Order, runPeople, type Stretch } from "./soak/people.js";
import { LOGIN } from "./soak/person.js";
import { Progress } from "./soak/progress.js";
import { grown, type Readings, resources, rss } from "./soak/readings.js";
import { Stalls } from "./soak/stalls.js";
import { TcpProxy } from "./tcp-proxy.js";

/**
 * `npm run soak`: sockets that join, leave, send, disconnect, connect again and lose their permission now and then, at a third of
 * the measured peak. Without options on SQLite, for ten minutes. `--minutes 30` sets the time. `--faults` runs on PostgreSQL, with random
 * faults: database connections are cut, lost or refused, the gateway answers 429 or 500, clients stop reading.
 *
 * Ends with 1 in each of these cases:
 *
 * - A call or a background task failed, and no fault explains it, or too many failed.
 * - Too few calls were answered, because their users had no permission or no connection.
 * - A crew that lost its permission at the end still has connections, or another one has none.
 * - The database has other connections at the end than the clients.
 * - Memory, or the resources that are open at rest, grew.
 */
const SOCKETS = Number(process.env.SOAK_SOCKETS ?? 2000);
const CREWS = 20;
const WARM_UP_SHARE = 0.25;
/**
 * The load as a share of the measured peak. The rest is for messages that wait after a fault, and for retries while the gateway answers 429.
 * Otherwise the process would reject calls because it is overloaded.
 */
const LOAD_SHARE = 1 / 3;
/** Large enough that what waits for a client that does not read soon exceeds every buffer. */
const FAULTY_TEXT_BYTES = 8192;
/** How long errors of one kind can wait until they are reported together, in milliseconds. Source: src/error-reporter.ts. */
const REPORT_DELAY_MS = 60_000;
/** How long the rows may differ from the open connections after the load, in milliseconds. */
const AGREEMENT_MS = 60_000;
/**
 * The least share of calls that are answered with ok, and the largest share that fails. After one fault in six, the connections to the
 * database receive no answers. Calls then fail for up to six of the eighteen seconds of a fault: until the process has replaced the
 * connections and handled the calls that waited.
 */
const LEAST_ANSWERED = 0.85;
const MOST_FAILED = 0.06;
const MAX_COMPLAINTS = 30;
const MAX_KINDS = 15;

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  ping = handler(() => "pong");
  // From one room to another, so that the work of a message does not grow with time.
  join = handler(async ({ body, move }) => {
    await move(String((body as { room: unknown }).room));
  });
  leave = handler(async ({ leave }) => leave());
  say = handler(async ({ connection, to, body }) => {
    const { text } = body as { text: string };
    if (connection.channel) await to({ channel: connection.channel }).send({ type: "said", text });
  });
}

/** Where the app keeps its data, and how it is reached. */
interface Storage {
  readonly storage: Database;
  readonly proxy?: TcpProxy;
  /** Returns the processor time of a database server, in milliseconds. */
  readonly cpuMs?: () => Promise<number>;
  close(): Promise<void>;
}

async function openSqlite(): Promise<Storage> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-soak-"));
  return {
    storage: sqlite(join(folder, "soak.db")),
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

async function openPostgres(): Promise<Storage> {
  const server = await startServer();
  const proxy = await TcpProxy.open(new URL(server.url));
  return {
    storage: postgres(proxy.through(server.url)),
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
      const userId = request.headers.get(LOGIN);
      return userId === null ? null : { userId };
    },
    onError: (error, where) => failures.add(`${where}: ${sentence(error)}`, REPORT_DELAY_MS),
  });
  await app.migrate();
  for (let user = 0; user < SOCKETS; user++)
    await app.access.users.addToGroup(`user-${user}`, `Crew ${user % CREWS}`);
  for (let crew = 0; crew < CREWS; crew++) await app.access.grant({ group: `Crew ${crew}` }, chat.use);
  const server = createServer(nodeListener(app));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const appUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const secret = gatewaySecret();
  const people = fork(fileURLToPath(import.meta.url), [
    "people",
    appUrl,
    secret,
    String(withFaults ? FAULTY_TEXT_BYTES : 20),
  ]);
  let isEnding = false;
  people.once("exit", (code, signal) => {
    if (isEnding) return;
    console.error(`The process of the gateway and the clients ended with ${code ?? signal}.`);
    process.exit(1);
  });
  const tell = (order: Order) => people.send(order);
  const { apiId, endpoint } = (await reported(people)) as { apiId: string; endpoint: string };
  const failing = withFaults ? await FailingEndpoint.open(endpoint) : undefined;
  await app.registerGateway({ name: "soak", apiId, endpoint: failing?.url ?? endpoint, secret });

  tell({ do: "connect" });
  await reported(people);
  tell({ do: "peak" });
  const peak = (await reported(people)) as number;
  const rate = Math.round(peak * LOAD_SHARE);
  console.log(`${SOCKETS} sockets, peak ${peak.toFixed(0)} messages/s, ${minutes} min at ${rate}/s`);

  const faults = proxy && failing && new Faults(proxy, failing, (ms) => tell({ do: "silence", ms }));
  const stretch = async (ms: number): Promise<{ app: Readings; outside: Stretch }> => {
    const rssMiB: number[] = [];
    const until = performance.now() + ms;
    tell({ do: "work", rate, ms });
    const outside = reported(people) as Promise<Stretch>;
    const faulty = faults?.run(until);
    while (performance.now() < until) {
      await revokeAndGrant();
      rssMiB.push(rss());
      await sleep((minutes * 60_000) / 60);
    }
    await faulty;
    const result = await outside;
    return { app: { rssMiB, atRest: resources() }, outside: result };
  };
  let revocations = 0;
  /** Takes the permission from one crew and gives it back. A change that failed is made again. */
  const revokeAndGrant = async () => {
    const crew = { group: `Crew ${revocations++ % CREWS}` };
    await again("revoke", () => app.access.revoke(crew, chat.use));
    await again("grant", () => app.access.grant(crew, chat.use));
    if (revocations % 10 === 0) await again("cleanup", () => app.cleanup());
  };
  const again = async (what: string, change: () => Promise<unknown>) => {
    for (;;) {
      try {
        await change();
        return;
      } catch (error) {
        failures.add(`${what}: ${sentence(error)}`);
        await sleep(100);
      }
    }
  };

  const stalls = new Stalls();
  const progress = new Progress("app", {}, cpuMs ? { PostgreSQL: cpuMs } : {});
  const warmUp = await stretch(minutes * 60_000 * WARM_UP_SHARE);
  const rest = await stretch(minutes * 60_000 * (1 - WARM_UP_SHARE));
  const crew = { group: "Crew 0" };
  await again("revoke", () => app.access.revoke(crew, chat.use));
  const connections = async () => {
    tell({ do: "report connections" });
    return (await reported(people)) as readonly string[];
  };
  const disagreement = await disagreementOf(storage, connections);
  isEnding = true;
  people.kill();
  server.closeAllConnections();
  server.close();
  failing?.close();
  await app.close();
  await close();

  const answered = warmUp.outside.answered + rest.outside.answered;
  const denied = warmUp.outside.denied + rest.outside.denied;
  console.log(
    `${answered} calls answered, ${denied} denied, ${revocations} revocations of ${SOCKETS / CREWS} users each`,
  );
  for (const line of faults?.summary() ?? []) console.log(line);
  const failed = [...failures.take(), ...warmUp.outside.failures, ...rest.outside.failures];
  const unexplained = faults?.unexplained(failed) ?? failed;
  const total = failed.reduce((sum, { count }) => sum + count, 0);
  console.log(
    `${total} failures, ${unexplained.reduce((sum, { count }) => sum + count, 0)} without an explanation`,
  );
  for (const line of byKind(failed)) console.log(line);
  const share = answered / (answered + denied + total);
  const complaints = [
    ...(share < LEAST_ANSWERED ? [`only ${(100 * share).toFixed(1)} % of the calls were answered`] : []),
    ...(total > MOST_FAILED * answered ? [`${total} failures are too many, whatever explains them`] : []),
    ...unexplained.map(({ at, what, count }) => `${new Date(at).toISOString()} ${count} × ${what}`),
    ...disagreement,
    ...grown("the app", minutes, warmUp.app, rest.app),
    ...grown("gateway and clients", minutes, warmUp.outside, rest.outside),
  ];
  if (complaints.length > 0) for (const line of faults?.timeline() ?? []) console.error(line);
  for (const line of [...stalls.report("the app"), ...warmUp.outside.stalls, ...rest.outside.stalls])
    console.log(line);
  stalls.stop();
  progress.stop();
  for (const complaint of complaints.slice(0, MAX_COMPLAINTS)) console.error(complaint);
  console.log(complaints.length === 0 ? "Nothing failed, nothing grew." : `${complaints.length} complaints.`);
  process.exitCode = complaints.length === 0 ? 0 : 1;
}

/**
 * Waits until the open rows are those of the clients' connections, and crew 0 has none.
 *
 * @param connections returns the users who are connected
 * @returns complaints if it does not come to that
 */
async function disagreementOf(
  storage: Database,
  connections: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const isOfCrew0 = (user: string) => Number(user.slice("user-".length)) % CREWS === 0;
  const until = performance.now() + AGREEMENT_MS;
  for (;;) {
    const rows = await storage.db
      .selectFrom("sallyport_connections")
      .select(["user_id", "closed_at"])
      .where("disconnected_at", "is", null)
      .execute();
    const open = new Set(await connections());
    const users = new Set(rows.map(({ user_id: user }) => user ?? ""));
    const complaints = [
      ...rows
        .filter(({ closed_at: closed }) => closed !== null)
        .map(({ user_id: user }) => `the connection of ${user} has no access and is not closed`),
      ...[...open].filter((user) => !users.has(user)).map((user) => `the connection of ${user} has no row`),
      ...[...users].filter((user) => !open.has(user)).map((user) => `the row of ${user} has no connection`),
      ...[...open].filter(isOfCrew0).map((user) => `${user} is connected without the permission`),
    ];
    const expected = (SOCKETS * (CREWS - 1)) / CREWS;
    if (open.size < 0.8 * expected) complaints.push(`only ${open.size} of ${expected} clients are connected`);
    if (complaints.length === 0 || performance.now() > until) return complaints;
    await sleep(1000);
  }
}

/** Returns a line for each kind of failure, the most frequent first. */
function byKind(failed: readonly Failure[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const { what, count } of failed) counts.set(what, (counts.get(what) ?? 0) + count);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, MAX_KINDS)
    .map(([what, count]) => `  ${count} × ${what.slice(0, 160)}`);
}

function sentence(error: unknown): string {
  const { code = "", message = String(error) } = error as { code?: string; message?: string };
  return `${code} ${message}`.trim();
}

function reported(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once("message", resolve));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: "string", default: "10" }, faults: { type: "boolean", default: false } },
});
const [role, appUrl = "", secret = "", textBytes] = positionals;
if (role === "people") await runPeople(SOCKETS, { appUrl, secret, textBytes: Number(textBytes) });
else await soak(Number(values.minutes), values.faults);
