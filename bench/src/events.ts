import { type ChildProcess, fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Kysely, type LogEvent, PostgresDialect } from "kysely";
import pg from "pg";
import type { Sallyport } from "sallyport";
import { LibsqlDialect } from "sallyport/storage/sqlite";
import { benchApp, connectionIdAt, insertConnections, prepareDatabase, SECRET, USERS } from "./bench-app.js";
import { type Comparison, compare } from "./comparison.js";
import { postgresDatabase, sqliteDatabase } from "./database.js";
import { EVENT_OPTIONS } from "./event-app.js";
import type { Statement } from "./event-server.js";
import { internalsOf } from "./internals.js";
import { type LoadRequest, requestsPerSecond } from "./load.js";
import { startServer } from "./postgres-server.js";

const CONNECTIONS = 1000;
const ADDRESSES = 200;

/**
 * Measures events per second over HTTP. The baseline is a minimal server with the same statements.
 */
export async function events(): Promise<readonly Comparison[]> {
  const rows: Comparison[] = [];
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  rows.push(await compareMessages("message-sqlite", join(folder, "bench.db"), 0.75));
  // The baseline of earlier results, which calls the slower `all()` of the driver.
  rows.push(
    await compareMessages("message-sqlite-all", join(folder, "all.db"), undefined, {
      BASELINE_READ_METHOD: "all",
    }),
  );
  await rm(folder, { recursive: true, force: true });
  const server = await startServer(true);
  rows.push(await compareMessages("message-postgres", server.url, 0.85));
  rows.push(await compareConnects("connect-postgres", server.url));
  await server.stop();
  return rows;
}

async function compareMessages(
  name: string,
  source: string,
  minRatio: number | undefined,
  environment: NodeJS.ProcessEnv = {},
): Promise<Comparison> {
  const app = await RecordingApp.open(source);
  await prepareDatabase(app.sallyport, app.storage);
  await insertConnections(app.storage, 1, CONNECTIONS);
  let n = 0;
  const next = (): LoadRequest => ({
    path: "/ws/chat/default",
    headers: gatewayHeaders(connectionIdAt((n++ % CONNECTIONS) + 1)),
    body: '{"handler":"ping"}',
  });
  // The first event of a process also reads gateways and changes.
  await app.handle(next());
  const statements = await app.recordStatements(next(), {});
  await app.close();
  return compareServers(name, source, statements, () => next, minRatio, environment);
}

async function compareConnects(name: string, source: string): Promise<Comparison> {
  const app = await RecordingApp.open(source);
  const tokens: string[] = [];
  let n = 0;
  const next = (): LoadRequest | undefined => {
    const token = tokens.pop();
    if (token === undefined) return undefined;
    n++;
    return {
      path: `/ws/chat/connect?channel=rooms/all&ws_token=${token}&hash=${hashOf(token)}`,
      headers: {
        ...gatewayHeaders(connectionIdAt(1_000_000 + n)),
        "x-sallyport-source-ip": `10.0.0.${n % ADDRESSES}`,
      },
      body: "",
    };
  };
  await app.issueTokens(tokens, 2);
  await app.handle(next() as LoadRequest);
  const request = next() as LoadRequest;
  const hash = new URL(request.path, "http://bench").searchParams.get("hash") ?? "";
  const address = request.headers["x-sallyport-source-ip"];
  const statements = await app.recordStatements(request, { hash, address });
  const comparison = await compareServers(
    name,
    source,
    statements,
    async () => {
      tokens.length = 0;
      await app.issueTokens(tokens, 12_000);
      return next;
    },
    0.7,
  );
  await app.close();
  return comparison;
}

async function compareServers(
  name: string,
  source: string,
  statements: readonly Statement[],
  load: () => (() => LoadRequest | undefined) | Promise<() => LoadRequest | undefined>,
  minRatio: number | undefined,
  environment: NodeJS.ProcessEnv = {},
): Promise<Comparison> {
  const app = await startChild(["app", source], environment);
  const baseline = await startChild(["baseline", source, JSON.stringify(statements)], environment);
  const measure = async (child: Child) => requestsPerSecond(child.origin, await load());
  const comparison = await compare(
    name,
    "events/s",
    { sallyport: () => measure(app), baseline: () => measure(baseline) },
    minRatio === undefined ? {} : { goal: { min: minRatio } },
  );
  app.process.kill();
  baseline.process.kill();
  return comparison;
}

interface Child {
  readonly process: ChildProcess;
  readonly origin: string;
}

async function startChild(args: readonly string[], environment: NodeJS.ProcessEnv): Promise<Child> {
  const env = { ...process.env, ...environment };
  const child = fork(fileURLToPath(new URL("event-server.js", import.meta.url)), args, { env });
  const port = await new Promise((resolve) => child.once("message", resolve));
  return { process: child, origin: `http://127.0.0.1:${port}` };
}

function gatewayHeaders(connection: string): Record<string, string> {
  return { connectionId: connection, "x-sallyport-secret": SECRET, "content-type": "application/json" };
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** A query that an app sent. */
interface Query {
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

/** An app in this process that records its statements. */
class RecordingApp {
  readonly sallyport: Sallyport;
  readonly storage;
  readonly #kysely: Kysely<never>;
  readonly #queries: Query[];

  private constructor(kysely: Kysely<never>, source: string, queries: Query[]) {
    this.#kysely = kysely;
    this.#queries = queries;
    this.storage = source.startsWith("postgres:") ? postgresDatabase(kysely) : sqliteDatabase(kysely);
    this.sallyport = benchApp(this.storage, EVENT_OPTIONS);
  }

  static async open(source: string): Promise<RecordingApp> {
    const queries: Query[] = [];
    const log = ({ query: { sql, parameters } }: LogEvent): void => {
      queries.push({ sql, parameters });
    };
    const pool = new pg.Pool({ connectionString: source, max: 4 });
    // The server stops before the idle connections are closed.
    pool.on("error", () => undefined);
    const dialect = source.startsWith("postgres:")
      ? new PostgresDialect({ pool })
      : new LibsqlDialect({ path: source });
    return new RecordingApp(new Kysely<never>({ dialect, log }), source, queries);
  }

  /**
   * Handles an event and returns its statements.
   *
   * @param known values of the event, which become placeholders
   */
  async recordStatements(
    request: LoadRequest,
    known: { hash?: string; address?: string | undefined },
  ): Promise<Statement[]> {
    this.#queries.length = 0;
    await this.handle(request);
    const connection = request.headers.connectionId;
    // Periodic statements are not part of the event.
    const own = this.#queries.filter(
      ({ sql }) => !/sallyport_gateways|^pragma|"until_at" <=|^select "count"|"sallyport_changes"/.test(sql),
    );
    return own.map(({ sql, parameters }) => ({
      sql,
      values: parameters.map((value) => {
        if (value === connection) return { from: "connection" as const };
        if (value === known.hash) return { from: "hash" as const };
        if (typeof value === "string" && /^[0-9a-f-]{36}$/.test(value) && sql.startsWith("with")) {
          return value === parameters[0] ? { from: "id" as const } : { value };
        }
        if (typeof value === "string" && known.address && value.endsWith(known.address)) {
          return { text: value.replace(known.address, "{address}") };
        }
        return { value };
      }),
    }));
  }

  /** @throws Error if the status of the response is not 200 */
  async handle(request: LoadRequest): Promise<void> {
    const body = Buffer.from(request.body);
    const headers = new Map(
      Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), value]),
    );
    const response = await internalsOf(this.sallyport).answer({
      method: "POST",
      url: new URL(request.path, "http://bench"),
      header: (name) => headers.get(name.toLowerCase()),
      body: async () => body,
      get request(): Request {
        throw new Error("The benchmark has no Request object.");
      },
    });
    if (response?.status !== 200) throw new Error(`The event failed: ${JSON.stringify(response)}`);
  }

  /** Inserts tokens of different users, and appends them to `tokens`. */
  async issueTokens(tokens: string[], count: number): Promise<void> {
    const { db, now } = this.storage;
    const [gateway] = await db.selectFrom("sallyport_gateways").select("id").execute();
    for (let from = 0; from < count; from += 1000) {
      const batch = Array.from({ length: Math.min(1000, count - from) }, () =>
        randomBytes(32).toString("hex"),
      );
      await db
        .insertInto("sallyport_tokens")
        .values(({ eb }) =>
          batch.map((token, index) => ({
            hash: hashOf(token),
            user_id: `u${((from + index) % USERS) + 1}`,
            session_id: null,
            origin: null,
            gateway_id: gateway?.id ?? null,
            created_at: now,
            expires_at: eb(now, "+", 3_600_000),
            spent_at: null,
          })),
        )
        .execute();
      tokens.push(...batch);
    }
  }

  async close(): Promise<void> {
    await this.sallyport.close();
    await this.#kysely.destroy();
  }
}
