import { randomUUID } from "node:crypto";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import WebSocket from "ws";
import { nodeListener } from "../../src/adapters/node.ts";
import type { Decision } from "../../src/audit/decision.ts";
import { gatewaySecret } from "../../src/auth/gateways.ts";
import type { SallyportOptions } from "../../src/config.ts";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { isPostgres, sqlAt, storageAt, type TestDatabase } from "../postgres/database.ts";
import { migratedDatabase } from "../postgres/migrated-database.ts";

/** The origin of the page in the tests. */
export const ORIGIN = "https://www.example.com";

/** Options of a test world. */
export type WorldOptions = Omit<Partial<SallyportOptions>, "storage" | "views" | "permissions"> &
  Pick<SallyportOptions, "views" | "permissions"> & {
    readonly gatewayView?: string;
    /** Opens the storage at a test database's source. Default: {@link storageAt}. */
    readonly storage?: (source: string) => Database;
    /** Creates the HTTP listener of the app. Default: {@link nodeListener}. */
    readonly serve?: (sallyport: Sallyport) => RequestListener | Promise<RequestListener>;
    /** Path prefix of the app, such as `/realtime`. Default: none. */
    readonly prefix?: string;
    /** Number of app instances, each with its own server, pool and poller. Default: 3 on PostgreSQL, otherwise 1. */
    readonly instances?: number;
  };

/** Returns the notice of a revocation, of the view or of `channel`. */
export const revoked = (channel?: string) => ({
  type: "sallyport.revoked",
  ...(channel === undefined ? { scope: "view" } : { scope: "channel", channel }),
  reference: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
});

/** A parsed frame. */
export type Frame = Record<string, unknown>;

/**
 * A real app with its database and a local API Gateway, to which tests connect as users. The cookie
 * `login=<user>:<session>` represents the session of a user in the app.
 *
 * On PostgreSQL the app runs in several instances, which receive the requests in turn. They share one process,
 * so that a test can inspect all of them.
 */
export class World {
  /** The instance that tests use for changes and sends. */
  readonly sallyport: Sallyport;
  readonly gateway: LocalGateway;
  readonly secret: string;
  /** Base URL of that instance, including the prefix. */
  readonly appUrl: string;
  /** All denials and rejections so far. */
  readonly decisions: Decision[];
  /** All errors that onError received. */
  readonly errors: unknown[];
  /** The path of the SQLite file, or a connection string. */
  readonly database: string;
  readonly #instances: readonly Instance[];
  #turn = 0;
  readonly #database: TestDatabase;
  readonly #sockets = new Set<Socket>();

  private constructor(parts: {
    instances: readonly [Instance, ...Instance[]];
    gateway: LocalGateway;
    secret: string;
    decisions: Decision[];
    errors: unknown[];
    database: TestDatabase;
  }) {
    this.sallyport = parts.instances[0].sallyport;
    this.appUrl = parts.instances[0].url;
    this.#instances = parts.instances;
    this.gateway = parts.gateway;
    this.secret = parts.secret;
    this.decisions = parts.decisions;
    this.errors = parts.errors;
    this.database = parts.database.source;
    this.#database = parts.database;
  }

  static async open(
    {
      gatewayView,
      storage = storageAt,
      instances = isPostgres ? 3 : 1,
      serve = nodeListener,
      prefix = "",
      ...options
    }: WorldOptions,
    given?: TestDatabase,
  ): Promise<World> {
    const database = given ?? (await migratedDatabase());
    const decisions: Decision[] = [];
    const errors: unknown[] = [];
    const open = () =>
      Instance.open(serve, prefix, {
        origins: [ORIGIN],
        authenticate: loginFromCookie,
        onDecision: (decision) => decisions.push(decision),
        onError: (error) => errors.push(error),
        decisionLog: { sampleAllowed: 0 },
        // Low enough for a test to have all requests in flight.
        apiGateway: { concurrency: 128 },
        ...options,
        storage: storage(database.source),
      });
    const first = await open();
    const others = await Promise.all(Array.from({ length: instances - 1 }, open));
    const secret = gatewaySecret();
    const view = gatewayView ?? (Object.keys(options.views)[0] as string);
    const target = [first, ...others].map(({ url }) => `${url}${view}/`);
    const gateway = await startLocalGateway({ target, port: 0, secret });
    const { apiId, endpoint } = gateway;
    await first.sallyport.registerGateway({ name: "local", apiId, endpoint, secret });
    return new World({ instances: [first, ...others], gateway, secret, decisions, errors, database });
  }

  /** Requests a token as the page of a signed-in user. @throws unless the status is 200 */
  async token(user: string, body?: object, origin: string | null = ORIGIN): Promise<string> {
    const response = await this.requestToken(user, body, origin);
    if (response.status !== 200)
      throw new Error(`token rejected: ${response.status} ${await response.text()}`);
    return ((await response.json()) as { token: string }).token;
  }

  requestToken(user: string | null, body?: object, origin: string | null = ORIGIN): Promise<Response> {
    return fetch(`${this.#nextUrl()}/api/ws-token`, {
      method: "POST",
      headers: {
        ...(user === null ? {} : { cookie: cookieOf(user) }),
        ...(origin === null ? {} : { origin }),
        ...(body ? { "content-type": "application/json" } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  }

  /** Opens a connection of a user, or an anonymous one for `null`. @throws HandshakeRejected with the status of the handshake */
  async connect(user: string | null, options: ConnectOptions = {}): Promise<Socket> {
    const token = "token" in options ? options.token : user === null ? undefined : await this.token(user);
    const url = new URL(this.gateway.url);
    if (token !== undefined) url.searchParams.set("ws_token", token);
    if (options.channel !== undefined) url.searchParams.set("channel", options.channel);
    const origin = options.origin === undefined ? ORIGIN : options.origin;
    const cookie = options.cookie === undefined ? (user === null ? null : cookieOf(user)) : options.cookie;
    const socket = await Socket.open(url, {
      ...(origin === null ? {} : { origin }),
      ...(cookie === null ? {} : { cookie }),
      ...options.headers,
    });
    this.#sockets.add(socket);
    return socket;
  }

  /** Sends an event to the app as a gateway does. Only `headers` can authenticate it. */
  event(path: string, headers: Record<string, string>, body = ""): Promise<Response> {
    return fetch(`${this.#nextUrl()}${path}`, { method: "POST", headers, body });
  }

  /** Base URL of every instance. */
  get appUrls(): readonly string[] {
    return this.#instances.map(({ url }) => url);
  }

  #nextUrl(): string {
    return this.#instances[this.#turn++ % this.#instances.length]?.url as string;
  }

  /** Runs a statement directly on the database. */
  sql(statement: string): Promise<unknown[]> {
    return sqlAt(this.database, statement);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.terminate();
    await this.gateway.close();
    await Promise.all(this.#instances.map((instance) => instance.close()));
    await this.#database.drop();
  }
}

/** One instance of the app with its own HTTP server. */
class Instance {
  readonly sallyport: Sallyport;
  readonly url: string;
  readonly #server: Server;

  private constructor(sallyport: Sallyport, server: Server, prefix: string) {
    this.sallyport = sallyport;
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}`;
  }

  static async open(
    serve: NonNullable<WorldOptions["serve"]>,
    prefix: string,
    options: SallyportOptions,
  ): Promise<Instance> {
    const sallyport = createSallyport(options);
    await sallyport.migrate();
    const server = createServer(await serve(sallyport));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Instance(sallyport, server, prefix);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.sallyport.close();
  }
}

export interface ConnectOptions {
  readonly channel?: string;
  readonly token?: string | undefined;
  /** `null` omits the header. */
  readonly origin?: string | null;
  readonly cookie?: string | null;
  readonly headers?: Record<string, string>;
}

/** The gateway rejected the handshake with a status. */
export class HandshakeRejected extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`handshake rejected with ${status}`);
    this.status = status;
  }
}

/** Returns the status of a handshake, which is 101 for an open connection. @throws other errors */
export async function statusOf(connecting: Promise<unknown>): Promise<number> {
  try {
    await connecting;
    return 101;
  } catch (error) {
    if (error instanceof HandshakeRejected) return error.status;
    throw error;
  }
}

/** The socket of a browser, which records every frame that it receives. */
export class Socket {
  readonly received: Frame[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  isClosed = false;
  readonly #socket: WebSocket;
  readonly #waiting = new Set<() => void>();

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data) => {
      this.received.push(JSON.parse(data.toString()) as Frame);
      for (const look of this.#waiting) look();
    });
    this.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => {
        this.isClosed = true;
        resolve({ code, reason: reason.toString() });
        for (const look of this.#waiting) look();
      });
    });
  }

  static open(url: URL, headers: Record<string, string>): Promise<Socket> {
    const { origin, ...rest } = headers;
    const socket = new WebSocket(url, { ...(origin === undefined ? {} : { origin }), headers: rest });
    const wrapped = new Socket(socket);
    return new Promise((resolve, reject) => {
      socket.on("open", () => resolve(wrapped));
      socket.on("unexpected-response", (_request, response) => {
        response.resume();
        reject(new HandshakeRejected(response.statusCode ?? 0));
      });
      socket.on("error", reject);
    });
  }

  /** Sends text unchanged, and other values as JSON. */
  send(message: unknown): void {
    this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** Calls a handler and returns its answer. */
  async call(handler: string, fields: object = {}): Promise<Frame> {
    const id = randomUUID();
    this.send({ ...fields, handler, id });
    return this.next((frame) => frame.id === id);
  }

  /** Calls a handler and returns its result. @throws if the answer is an error */
  async result(handler: string, fields: object = {}): Promise<unknown> {
    const answer = await this.call(handler, fields);
    if (answer.ok !== true) throw new Error(`${handler} was rejected: ${JSON.stringify(answer)}`);
    return answer.result;
  }

  /** Returns the first frame that matches, whether already received or received later. */
  next(fits: (frame: Frame) => boolean, timeoutMs = 60_000): Promise<Frame> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`no such frame within ${timeoutMs} ms; received ${JSON.stringify(this.received)}`));
      }, timeoutMs);
      const look = () => {
        const found = this.received.find(fits);
        if (!found && !this.isClosed) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        if (found) resolve(found);
        else reject(new Error(`the socket closed first; received ${JSON.stringify(this.received)}`));
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Returns the first server message of a type. */
  message(type: string): Promise<Frame> {
    return this.next((frame) => frame.type === type);
  }

  close(code = 1000): void {
    this.#socket.close(code);
  }

  terminate(): void {
    this.#socket.terminate();
  }
}

/** Returns the cookie of a user. `ann` has one session, and `ann:phone` is another session of the same user. */
function cookieOf(user: string): string {
  return `login=${user.includes(":") ? user : `${user}:login-of-${user}`}`;
}

function loginFromCookie(request: Request) {
  const [, userId, sessionId] =
    /(?:^|;\s*)login=([^:;]+):([^;]+)/.exec(request.headers.get("cookie") ?? "") ?? [];
  return userId && sessionId ? { userId, sessionId } : null;
}
