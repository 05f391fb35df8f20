import { type ChildProcess, fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Kysely, type LogEvent, PostgresDialect } from "kysely";
import pg from "pg";
import type { Sallyport } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { LibsqlDialect, sqlite } from "sallyport/storage/sqlite";
import { benchApp, connectionOf, openSessions, prepare, SECRET, USERS } from "./bench-app.js";
import { EVENT_OPTIONS } from "./event-app.js";
import type { Step } from "./event-server.js";
import { internalsOf } from "./internals.js";
import { type LoadRequest, requestsPerSecond } from "./load.js";
import { pair, type Row } from "./pairs.js";
import { startServer } from "./postgres-server.js";

const SESSIONS = 1000;
const ADDRESSES = 200;

/** Events a second, HTTP in to HTTP out, against a bare server that sends the same statements. */
export async function events(): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  rows.push(await messages("message-sqlite", join(folder, "bench.db"), 0.75));
  // The floor of earlier measurements: the driver's second best call.
  rows.push(
    await messages("message-sqlite-all", join(folder, "all.db"), undefined, { FLOOR_READS_BY: "all" }),
  );
  await rm(folder, { recursive: true, force: true });
  const server = await startServer(true);
  rows.push(await messages("message-postgres", server.url, 0.85));
  rows.push(await connects("connect-postgres", server.url));
  await server.stop();
  return rows;
}

async function messages(
  name: string,
  source: string,
  least: number | undefined,
  environment: NodeJS.ProcessEnv = {},
): Promise<Row> {
  const database = await Watched.open(source);
  await prepare(database.app, database.storage);
  await openSessions(database.storage, 1, SESSIONS);
  let n = 0;
  const next = (): LoadRequest => ({
    path: "/ws/chat/default",
    headers: gatewayHeaders(connectionOf((n++ % SESSIONS) + 1)),
    body: '{"handler":"ping"}',
  });
  // The first event of a process also reads gateways and changes.
  await database.answer(next());
  const steps = await database.stepsOf(next(), {});
  await database.close();
  return inTurn(name, source, steps, () => next, least, environment);
}

async function connects(name: string, source: string): Promise<Row> {
  const database = await Watched.open(source);
  const tokens: string[] = [];
  let n = 0;
  const next = (): LoadRequest | undefined => {
    const token = tokens.pop();
    if (token === undefined) return undefined;
    n++;
    return {
      path: `/ws/chat/connect?channel=rooms/all&ws_token=${token}&hash=${hashOf(token)}`,
      headers: {
        ...gatewayHeaders(connectionOf(1_000_000 + n)),
        "x-sallyport-source-ip": `10.0.0.${n % ADDRESSES}`,
      },
      body: "",
    };
  };
  await database.issue(tokens, 2);
  await database.answer(next() as LoadRequest);
  const request = next() as LoadRequest;
  const hash = new URL(request.path, "http://bench").searchParams.get("hash") ?? "";
  const steps = await database.stepsOf(request, { hash, address: request.headers["x-sallyport-source-ip"] });
  const row = await inTurn(
    name,
    source,
    steps,
    async () => {
      tokens.length = 0;
      await database.issue(tokens, 12_000);
      return next;
    },
    0.7,
  );
  await database.close();
  return row;
}

async function inTurn(
  name: string,
  source: string,
  steps: readonly Step[],
  load: () => (() => LoadRequest | undefined) | Promise<() => LoadRequest | undefined>,
  least: number | undefined,
  environment: NodeJS.ProcessEnv = {},
): Promise<Row> {
  const ours = await startChild(["app", source], environment);
  const bare = await startChild(["bare", source, JSON.stringify(steps)], environment);
  const measure = async (child: Child) => requestsPerSecond(child.origin, await load());
  const row = await pair(
    name,
    "events/s",
    { ours: () => measure(ours), floor: () => measure(bare) },
    least === undefined ? {} : { promise: { least } },
  );
  ours.process.kill();
  bare.process.kill();
  return row;
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

/** An app in this process, whose statements can be listened to. */
class Watched {
  readonly app: Sallyport;
  readonly storage;
  readonly #kysely: Kysely<never>;
  readonly #told: { sql: string; parameters: readonly unknown[] }[];

  private constructor(
    kysely: Kysely<never>,
    source: string,
    told: { sql: string; parameters: readonly unknown[] }[],
  ) {
    this.#kysely = kysely;
    this.#told = told;
    this.storage = source.startsWith("postgres:") ? postgres(kysely) : sqlite(kysely);
    this.app = benchApp(this.storage, EVENT_OPTIONS);
  }

  static async open(source: string): Promise<Watched> {
    const told: { sql: string; parameters: readonly unknown[] }[] = [];
    const log = ({ query: { sql, parameters } }: LogEvent): void => {
      told.push({ sql, parameters });
    };
    const pool = new pg.Pool({ connectionString: source, max: 4 });
    // The server is stopped while connections end.
    pool.on("error", () => undefined);
    const dialect = source.startsWith("postgres:")
      ? new PostgresDialect({ pool })
      : new LibsqlDialect({ path: source });
    return new Watched(new Kysely<never>({ dialect, log }), source, told);
  }

  /** The statements of an event, with places for what differs from event to event. */
  async stepsOf(
    request: LoadRequest,
    known: { hash?: string; address?: string | undefined },
  ): Promise<Step[]> {
    this.#told.length = 0;
    await this.answer(request);
    const connection = request.headers.connectionId;
    // What is looked for now and then is not of this event.
    const own = this.#told.filter(
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

  /** @throws Error unless the event is answered with 200 */
  async answer(request: LoadRequest): Promise<void> {
    const body = Buffer.from(request.body);
    const headers = new Map(
      Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), value]),
    );
    const answer = await internalsOf(this.app).answer({
      method: "POST",
      url: new URL(request.path, "http://bench"),
      header: (name) => headers.get(name.toLowerCase()),
      body: async () => body,
      get request(): Request {
        throw new Error("no request is needed");
      },
    });
    if (answer?.status !== 200) throw new Error(`the event was answered ${JSON.stringify(answer)}`);
  }

  /** Tokens of users in turn, as pages would have fetched them. */
  async issue(into: string[], count: number): Promise<void> {
    const { db, now } = this.storage;
    const [gateway] = await db.selectFrom("sallyport_gateways").select("id").execute();
    for (let from = 0; from < count; from += 1000) {
      const tokens = Array.from({ length: Math.min(1000, count - from) }, () =>
        randomBytes(32).toString("hex"),
      );
      await db
        .insertInto("sallyport_tokens")
        .values(({ eb }) =>
          tokens.map((token, index) => ({
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
      into.push(...tokens);
    }
  }

  async close(): Promise<void> {
    await this.app.close();
    await this.#kysely.destroy();
  }
}
