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
import type { Facts } from "./oracle.ts";

const ORIGIN = "https://www.example.com";
const SECRET = "story".repeat(8);
const STARTED_AT = 1_000_000_000_000;

/** A frame that a socket was given. */
export interface Arrived {
  readonly socket: string;
  readonly frame: Record<string, unknown>;
}

/** What the app and the gateway saw while a step was played. */
export interface Seen {
  readonly ran: Ran[];
  readonly frames: Arrived[];
  /** Sockets that the gateway was told to close. */
  readonly closed: string[];
}

/** A frame in a line: a note by its number, a notice by what was lost, and nothing else may come. */
export function lineOf({ socket, frame }: Arrived): string {
  const { type, n, scope, channel, reference: _reference, ...others } = frame;
  if (Object.keys(others).length > 0) return `${socket} is told too much: ${JSON.stringify(others)}`;
  if (type === "note") return `${socket} hears ${n}`;
  return `${socket} lost ${scope === "view" ? "its view" : channel}`;
}

/** The two processes that serve. */
export type Name = "A" | "B";

/** How a race watches, and holds things up. */
export interface Hooks {
  /** Awaited by the app's own code. */
  pause?: () => Promise<void>;
  ran?: (ran: Ran) => void;
  /** A post has started; the gateway takes it when this resolves. */
  posting?: (arrived: Arrived, by: Name | "dying") => Promise<void>;
}

/**
 * Two instances of an app on one database, in one process and without sockets: events come in as requests, what
 * goes out is recorded. The database's clock stands still until the story moves it.
 */
export class World {
  readonly facts: Facts;
  readonly errors: unknown[] = [];
  hooks: Hooks = {};
  readonly #database: TestDatabase;
  readonly #instances: Record<Name, Sallyport>;
  readonly #hand: Database;
  readonly #design: Design;
  readonly #sample: boolean;
  #seen: Seen = { ran: [], frames: [], closed: [] };
  readonly #hungUp = new Set<string>();
  #disconnects: Promise<unknown>[] = [];
  #dying: Sallyport | undefined;
  #writesOfTheDying = 0;

  private constructor(database: TestDatabase, design: Design, sample: boolean) {
    this.#database = database;
    this.#design = design;
    this.#sample = sample;
    const open = () => clocked(storageAt(searching(database.source)));
    this.#hand = open();
    this.#instances = { A: this.#instance("A", open()), B: this.#instance("B", open()) };
    this.facts = {
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

  /** @param sample whether every allowed decision is kept, too */
  static async open(design: Design, sample: boolean): Promise<World> {
    return new World(await (isPostgres ? emptied(design) : copied(design)), design, sample);
  }

  at(name: Name): Sallyport {
    return this.#instances[name];
  }

  /** A process that dies once it has committed its first write. */
  dying(): Sallyport {
    this.#writesOfTheDying = 0;
    const mortal = changedStorage(this.#hand, {
      transaction: (work) => {
        if (++this.#writesOfTheDying > 1) throw new Killed();
        return this.#hand.transaction(work);
      },
    });
    this.#dying ??= this.#instance("dying", mortal);
    return this.#dying;
  }

  /** Where a socket of a view goes that names no channel; a child's as its parent's. */
  start(view: string): string | undefined {
    return view === "/any" || view === "/child" ? this.#design.defaultChannel : undefined;
  }

  /** An event as the gateway passes it on. */
  async event(name: Name, path: string, headers: Record<string, string>, body?: string): Promise<Answer> {
    const request = new Request(`http://app${path}`, {
      method: "POST",
      headers,
      ...(body === undefined ? {} : { body }),
    });
    const response = await this.at(name).fetch(request);
    if (!response) throw new Error(`${path} is nobody's`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  disconnect(name: Name, socket: string): Promise<Answer> {
    return this.event(name, "/any/disconnect", gatewayHeaders(socket));
  }

  /** What was seen since the last call, when every socket that was hung up on has told so. */
  async seen(): Promise<Seen> {
    while (this.#disconnects.length > 0) await Promise.all(this.#disconnects.splice(0));
    const seen = this.#seen;
    this.#seen = { ran: [], frames: [], closed: [] };
    return seen;
  }

  /** Whether the gateway has closed a socket. */
  isHungUp(socket: string): boolean {
    return this.#hungUp.has(socket);
  }

  async pass(ms: number): Promise<void> {
    this.facts.now += ms;
    await this.query(`update property_clock set ms = ${this.facts.now}`);
  }

  /** Reads or writes the tables behind everybody's back. */
  async query<Row>(statement: string): Promise<Row[]> {
    return (await this.#hand.db.executeQuery<Row>(CompiledQuery.raw(statement))).rows;
  }

  async close(): Promise<void> {
    await this.seen();
    for (const instance of Object.values(this.#instances)) await instance.close();
    await this.#hand.close();
    await this.#database.drop();
  }

  #instance(name: Name | "dying", storage: Database): Sallyport {
    const pause = async () => this.hooks.pause?.();
    const ran = (one: Ran) => {
      this.#seen.ran.push(one);
      this.hooks.ran?.(one);
    };
    const sallyport = createSallyport({
      ...appOf(this.#design, { facts: () => this.facts, ran, pause }),
      storage,
      permissions: [p],
      origins: [ORIGIN],
      authenticate: loginFromCookie,
      limits: NO_LIMITS,
      decisionLog: { sampleAllowed: this.#sample ? 1 : 0 },
      apiGateway: { client: this.#gateway(name) },
      // A process that has died reports nothing.
      onError: (error, where) => {
        if (!(error instanceof Killed)) this.errors.push(`${where}: ${error}`);
      },
    });
    holdLoop(sallyport);
    return sallyport;
  }

  /** The Management API: 410 for a socket that is not there, and a `$disconnect` for each that it closes. */
  #gateway(by: Name | "dying"): ManagementApi {
    const isThere = (id: string) =>
      !this.#hungUp.has(id) && this.facts.sockets.some((socket) => socket.id === id && !socket.vanished);
    return {
      post: async (_endpoint, socket, text): Promise<PostResult> => {
        const arrived = { socket, frame: JSON.parse(text) as Record<string, unknown> };
        await this.hooks.posting?.(arrived, by);
        if (!isThere(socket)) return { kind: "gone" };
        this.#seen.frames.push(arrived);
        return { kind: "ok" };
      },
      delete: async (_endpoint, socket): Promise<PostResult> => {
        if (!isThere(socket)) return { kind: "gone" };
        this.#seen.closed.push(socket);
        this.#hungUp.add(socket);
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

/** What a process says that died in the middle of a change. */
export class Killed extends Error {}

export const cookieOf = (user: string, login: string): string => `login=${user}:${login}`;

export const pageHeaders = (cookie: string | undefined): Record<string, string> => ({
  origin: ORIGIN,
  ...(cookie === undefined ? {} : { cookie }),
});

export const gatewayHeaders = (socket: string, secret = SECRET): Record<string, string> => ({
  connectionId: socket,
  "x-sallyport-secret": secret,
  // As if each connection were young: a message of one without an open row then does not close it, which other tests cover.
  "x-sallyport-connected-at": `${Date.now()}`,
  "x-sallyport-stage": "story",
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

/** The story moves the clock, so that a lease of seconds or a session's two hours cost no time; and nothing looks unless it says so. */
function clocked(storage: Database): Database {
  return changedStorage(storage, {
    now: sql<number>`(select clock.ms from property_clock as clock)`,
    listen: () => async () => undefined,
  });
}

/** Starts the loop with a timer that never fires: the story says when an instance looks. */
function holdLoop(sallyport: Sallyport): void {
  const never = setTimeout(() => undefined, 0);
  clearTimeout(never);
  const timers = vi.spyOn(globalThis, "setTimeout").mockReturnValueOnce(never);
  sallyport[INTERNAL].start();
  timers.mockRestore();
}

let template: Promise<Buffer> | undefined;

/** A SQLite file, migrated once and copied for each world. */
async function copied(design: Design): Promise<TestDatabase> {
  template ??= fileOf(design);
  const database = await emptyDatabase();
  await writeFile(database.source, await template);
  return database;
}

async function fileOf(design: Design): Promise<Buffer> {
  const database = await emptyDatabase();
  await furnish(database, design);
  await sqlAt(database.source, "pragma wal_checkpoint(truncate)");
  const bytes = await readFile(database.source);
  await database.drop();
  return bytes;
}

let schema: Promise<TestDatabase> | undefined;

/** A PostgreSQL schema, migrated once and emptied for each world; it goes with its server. */
async function emptied(design: Design): Promise<TestDatabase> {
  schema ??= (async () => {
    const database = await emptyDatabase();
    await furnish(database, design);
    return database;
  })();
  const { source } = await schema;
  const emptying = EMPTIED.map((table) => `delete from sallyport_${table};`).join(" ");
  await sqlAt(source, `${emptying} update property_clock set ms = ${STARTED_AT}`);
  return { source, drop: async () => undefined };
}

/** Everything but what a migration and a gateway's registration leave. Whoever refers to others goes first. */
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

/** The tables, the permissions, the gateway, and a clock that stands still. */
async function furnish({ source }: TestDatabase, design: Design): Promise<void> {
  await sqlAt(source, "create table property_clock (ms bigint not null)");
  await sqlAt(source, `insert into property_clock values (${STARTED_AT})`);
  const sallyport = createSallyport({
    ...appOf(design, { facts: () => ({ clubs: new Map() }) as unknown as Facts, ran: () => undefined }),
    storage: clocked(storageAt(searching(source))),
    permissions: [p],
    origins: [ORIGIN],
    authenticate: () => null,
  });
  await sallyport.migrate();
  await sallyport.registerGateway({ name: "story", endpoint: "http://localhost/story", secret: SECRET });
  await sallyport.close();
}
