import { readFile, writeFile } from "node:fs/promises";
import { CompiledQuery, sql } from "kysely";
import { vi } from "vitest";
import type { ManagementApi, PostResult } from "../../src/delivery/management-api.ts";
import { INTERNAL } from "../../src/internal.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import {
  changedStorage,
  emptyDatabase,
  isPostgres,
  searching,
  sqlAt,
  storageAt,
  type TestDatabase,
} from "../postgres/database.ts";
import { appOf, type Design, p, type Ran, rulesOf } from "./app.ts";
import type { ModelState } from "./model.ts";

const ORIGIN = "https://www.example.com";
const SECRET = "secret".repeat(8);
const STARTED_AT = 1_000_000_000_000;

/** A frame that a socket received. */
export interface Arrived {
  readonly socket: string;
  readonly frame: Record<string, unknown>;
}

/** What the app and the gateway observed during a step. */
export interface Observed {
  readonly ran: Ran[];
  readonly frames: Arrived[];
  /** Sockets that the gateway closed. */
  readonly closed: string[];
}

/**
 * Formats a frame as a line: a note by its number, a notice by the lost view or channel. Other
 * fields are an error.
 */
export function lineOf({ socket, frame }: Arrived): string {
  const { type, n, scope, channel, reference: _reference, ...others } = frame;
  if (Object.keys(others).length > 0)
    return `${socket} receives unexpected fields: ${JSON.stringify(others)}`;
  if (type === "note") return `${socket} receives ${n}`;
  if (type === "sallyport.restored") return `${socket} can join ${channel} again`;
  return `${socket} lost ${scope === "view" ? "its view" : channel}`;
}

/** The two processes that serve. */
export type Name = "A" | "B";

/** Lets a race observe and delay the app. */
export interface Hooks {
  /** Awaited in the hooks of the app. */
  pause?: () => Promise<void>;
  ran?: (ran: Ran) => void;
  /** Called when a post starts. The gateway accepts the post when this resolves. */
  posting?: (arrived: Arrived, by: Name | "killed") => Promise<void>;
}

/**
 * Two instances of an app with one database, in one process and without sockets. Events arrive as
 * requests, and calls to the Management API are recorded. The database clock moves only when the
 * scenario moves it.
 */
export class World {
  readonly state: ModelState;
  readonly errors: unknown[] = [];
  hooks: Hooks = {};
  readonly #database: TestDatabase;
  readonly #instances: Record<Name, Sallyport>;
  readonly #direct: Database;
  readonly #design: Design;
  readonly #sample: boolean;
  #observed: Observed = { ran: [], frames: [], closed: [] };
  readonly #closed = new Set<string>();
  #disconnects: Promise<unknown>[] = [];
  #killed: Sallyport | undefined;
  #writesOfKilled = 0;

  private constructor(database: TestDatabase, design: Design, sample: boolean) {
    this.#database = database;
    this.#design = design;
    this.#sample = sample;
    const open = () => clocked(storageAt(searching(database.source)));
    this.#direct = open();
    this.#instances = { A: this.#instance("A", open()), B: this.#instance("B", open()) };
    this.state = {
      now: STARTED_AT,
      ...rulesOf(design),
      people: new Map(),
      groups: new Map(),
      clubs: new Map(),
      tokens: [],
      sockets: [],
      endings: new Map(),
    };
  }

  /** @param sample whether every allowed decision is stored too */
  static async open(design: Design, sample: boolean): Promise<World> {
    return new World(await (isPostgres ? emptied(design) : copied(design)), design, sample);
  }

  at(name: Name): Sallyport {
    return this.#instances[name];
  }

  /** Returns a process that is killed after it has committed its first write. */
  killed(): Sallyport {
    this.#writesOfKilled = 0;
    const storage = changedStorage(this.#direct, {
      transaction: (work) => {
        if (++this.#writesOfKilled > 1) throw new Killed();
        return this.#direct.transaction(work);
      },
    });
    this.#killed ??= this.#instance("killed", storage);
    return this.#killed;
  }

  /** Returns the default channel of a view. */
  start(view: string): string | undefined {
    return view === "/any" || view === "/child" ? this.#design.defaultChannel : undefined;
  }

  /** Sends an event as the gateway does. */
  async event(name: Name, path: string, headers: Record<string, string>, body?: string): Promise<Answer> {
    const request = new Request(`http://app${path}`, {
      method: "POST",
      headers,
      ...(body === undefined ? {} : { body }),
    });
    const response = await this.at(name).fetch(request);
    if (!response) throw new Error(`the app does not handle ${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  disconnect(name: Name, socket: string): Promise<Answer> {
    return this.event(name, "/any/disconnect", gatewayHeaders(socket));
  }

  /** Returns what was observed since the last call, after the $disconnect of each closed socket. */
  async observed(): Promise<Observed> {
    while (this.#disconnects.length > 0) await Promise.all(this.#disconnects.splice(0));
    const observed = this.#observed;
    this.#observed = { ran: [], frames: [], closed: [] };
    return observed;
  }

  /** Returns whether the gateway has closed a socket. */
  isClosed(socket: string): boolean {
    return this.#closed.has(socket);
  }

  async pass(ms: number): Promise<void> {
    this.state.now += ms;
    await this.query(`update property_clock set ms = ${this.state.now}`);
  }

  /** Reads or writes the tables directly. */
  async query<Row>(statement: string): Promise<Row[]> {
    return (await this.#direct.db.executeQuery<Row>(CompiledQuery.raw(statement))).rows;
  }

  async close(): Promise<void> {
    await this.observed();
    for (const instance of Object.values(this.#instances)) await instance.close();
    await this.#direct.close();
    await this.#database.drop();
  }

  #instance(name: Name | "killed", storage: Database): Sallyport {
    const pause = async () => this.hooks.pause?.();
    const ran = (one: Ran) => {
      this.#observed.ran.push(one);
      this.hooks.ran?.(one);
    };
    const sallyport = createSallyport({
      ...appOf(this.#design, { state: () => this.state, ran, pause }),
      storage,
      permissions: [p],
      origins: [ORIGIN],
      authenticate: loginFromCookie,
      limits: NO_LIMITS,
      decisionLog: { sampleAllowed: this.#sample ? 1 : 0 },
      apiGateway: { client: this.#gateway(name) },
      // A killed process reports nothing.
      onError: (error, where) => {
        if (!(error instanceof Killed)) this.errors.push(`${where}: ${error}`);
      },
    });
    stopPolling(sallyport);
    return sallyport;
  }

  /**
   * The Management API. It answers 410 for an unknown socket and sends a `$disconnect` for each
   * socket that it closes.
   */
  #gateway(by: Name | "killed"): ManagementApi {
    const isThere = (id: string) =>
      !this.#closed.has(id) && this.state.sockets.some((socket) => socket.id === id && !socket.lost);
    return {
      post: async (_endpoint, socket, text): Promise<PostResult> => {
        const arrived = { socket, frame: JSON.parse(text) as Record<string, unknown> };
        await this.hooks.posting?.(arrived, by);
        if (!isThere(socket)) return { kind: "gone" };
        this.#observed.frames.push(arrived);
        return { kind: "ok" };
      },
      delete: async (_endpoint, socket): Promise<PostResult> => {
        if (!isThere(socket)) return { kind: "gone" };
        this.#observed.closed.push(socket);
        this.#closed.add(socket);
        this.#disconnects.push(this.disconnect("A", socket));
        return { kind: "ok" };
      },
      close: async () => undefined,
    };
  }
}

export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** Thrown in a process that was killed in the middle of a change. */
export class Killed extends Error {}

export const cookieOf = (user: string, login: string): string => `login=${user}:${login}`;

export const pageHeaders = (cookie: string | undefined): Record<string, string> => ({
  origin: ORIGIN,
  ...(cookie === undefined ? {} : { cookie }),
});

export const gatewayHeaders = (socket: string, secret = SECRET): Record<string, string> => ({
  connectionId: socket,
  "x-sallyport-secret": secret,
  // Each connection appears new. A message without an open row then does not close the connection.
  // Other tests cover that case.
  "x-sallyport-connected-at": `${Date.now()}`,
  "x-sallyport-stage": "dev",
  "x-sallyport-source-ip": "192.0.2.1",
});

function loginFromCookie(request: Request) {
  const [, userId, sessionId] = /login=([^:]+):(.+)/.exec(request.headers.get("cookie") ?? "") ?? [];
  return userId && sessionId ? { userId, sessionId } : null;
}

const NO_LIMITS = {
  connectsPerUser: false,
  connectionsPerUser: false,
  connectsPerIp: false,
  failedConnectsPerIp: false,
  tokensPerUser: false,
  messagesPerConnection: false,
  messagesPerUser: false,
} as const;

/**
 * The scenario moves the database clock, so that leases and limits take no real time. No instance
 * polls by itself.
 */
function clocked(storage: Database): Database {
  return changedStorage(storage, {
    now: sql<number>`(select clock.ms from property_clock as clock)`,
    listen: () => async () => undefined,
  });
}

/** Starts the poller with a timer that never fires. The scenario decides when an instance polls. */
function stopPolling(sallyport: Sallyport): void {
  const never = setTimeout(() => undefined, 0);
  clearTimeout(never);
  const timers = vi.spyOn(globalThis, "setTimeout").mockReturnValueOnce(never);
  sallyport[INTERNAL].start();
  timers.mockRestore();
}

let template: Promise<Buffer> | undefined;

/** Returns a SQLite file that was migrated once and is copied for each world. */
async function copied(design: Design): Promise<TestDatabase> {
  template ??= fileOf(design);
  const database = await emptyDatabase();
  await writeFile(database.source, await template);
  return database;
}

async function fileOf(design: Design): Promise<Buffer> {
  const database = await emptyDatabase();
  await prepare(database, design);
  await sqlAt(database.source, "pragma wal_checkpoint(truncate)");
  const bytes = await readFile(database.source);
  await database.drop();
  return bytes;
}

let schema: Promise<TestDatabase> | undefined;

/**
 * Returns a PostgreSQL schema that was migrated once and is emptied for each world. It is dropped
 * with its server.
 */
async function emptied(design: Design): Promise<TestDatabase> {
  schema ??= (async () => {
    const database = await emptyDatabase();
    await prepare(database, design);
    return database;
  })();
  const { source } = await schema;
  const emptying = EMPTIED.map((table) => `delete from sallyport_${table};`).join(" ");
  await sqlAt(source, `${emptying} update property_clock set ms = ${STARTED_AT}`);
  return { source, drop: async () => undefined };
}

/**
 * Tables whose rows are deleted, those that refer to others first. The rows of migrations and of
 * the gateway stay.
 */
const EMPTIED = [
  "memberships",
  "connections",
  "tokens",
  "ended_sessions",
  "user_permissions",
  "user_groups",
  "group_permissions",
  "users",
  "groups",
  "counters",
  "revocation_users",
  "revocations",
  "changes",
  "audit",
  "decisions",
];

/** Creates the tables, the permissions, the gateway, and a clock that does not advance. */
async function prepare({ source }: TestDatabase, design: Design): Promise<void> {
  await sqlAt(source, "create table property_clock (ms bigint not null)");
  await sqlAt(source, `insert into property_clock values (${STARTED_AT})`);
  const sallyport = createSallyport({
    ...appOf(design, { state: () => ({ clubs: new Map() }) as unknown as ModelState, ran: () => undefined }),
    storage: clocked(storageAt(searching(source))),
    permissions: [p],
    origins: [ORIGIN],
    authenticate: () => null,
  });
  await sallyport.migrate();
  await sallyport.registerGateway({ name: "model", endpoint: "http://localhost/dev", secret: SECRET });
  await sallyport.close();
}
