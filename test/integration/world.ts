import { randomUUID } from "node:crypto";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import WebSocket from "ws";
import type { Decision } from "../../src/access/decisions.ts";
import { nodeListener } from "../../src/adapters/node.ts";
import type { SallyportOptions } from "../../src/config.ts";
import { gatewaySecret } from "../../src/gateways/gateways.ts";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { isPostgres, sqlAt, storageAt, type TestDatabase } from "../postgres/database.ts";
import { migratedDatabase } from "../postgres/migrated-database.ts";

/** The page that the tests' browsers stand on. */
export const ORIGIN = "https://www.example.com";

/** What a story may change of the world it plays in. */
export type WorldOptions = Omit<Partial<SallyportOptions>, "storage" | "views" | "permissions"> &
  Pick<SallyportOptions, "views" | "permissions"> & {
    readonly gatewayView?: string;
    /** Opens the storage at a test database's source. Default: {@link storageAt}. */
    readonly storage?: (source: string) => Database;
    /** What serves the app over HTTP. Default: {@link nodeListener}. */
    readonly serve?: (sallyport: Sallyport) => RequestListener | Promise<RequestListener>;
    /** What comes before the app's paths there, such as `/realtime`. Default: nothing. */
    readonly prefix?: string;
    /** Instances of the app, each with its server, pool and loop. Default: 3 where the database serves several, else 1. */
    readonly instances?: number;
  };

/** What a socket hears when a right of its user ends: the view, or with `channel` that channel. */
export const revoked = (channel?: string) => ({
  type: "sallyport.revoked",
  ...(channel === undefined ? { scope: "view" } : { scope: "channel", channel }),
  reference: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
});

/** A frame as the tests look at it. */
export type Frame = Record<string, unknown>;

/**
 * An app, its database and a local API Gateway, all real, and people to connect. The app's login is a cookie
 * `login=<user>:<session>`, which stands for whatever login an app has.
 *
 * On PostgreSQL the app runs in several instances, and whatever comes from outside goes to one after the other. They are in one
 * process, so that a story can look at all of them.
 */
export class World {
  /** The instance at which the story changes and sends. */
  readonly sallyport: Sallyport;
  readonly gateway: LocalGateway;
  readonly secret: string;
  /** Base URL of that instance, prefix included. */
  readonly appUrl: string;
  /** Every refusal so far. */
  readonly decisions: Decision[];
  /** Everything that reached onError. */
  readonly errors: unknown[];
  /** The SQLite file's path, or a connection string. */
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
        // Few enough for a story to have them all under way.
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

  /** A token as the page of a signed-in user fetches it. @throws when it is refused */
  async token(user: string, body?: object, origin: string | null = ORIGIN): Promise<string> {
    const response = await this.requestToken(user, body, origin);
    if (response.status !== 200)
      throw new Error(`token refused: ${response.status} ${await response.text()}`);
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

  /** A connected socket of a user, or of nobody. @throws Refused with the handshake's status */
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

  /** Sends an event to the app as if by a gateway; nothing of it is proven unless the headers prove it. */
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

  /** Runs a statement on the database behind everybody's back. */
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

/** The app once, behind a server of its own. */
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
  /** null: none is sent. */
  readonly origin?: string | null;
  readonly cookie?: string | null;
  readonly headers?: Record<string, string>;
}

/** The gateway answered the handshake with a status instead of opening. */
export class Refused extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`handshake refused with ${status}`);
    this.status = status;
  }
}

/** Returns the status of a handshake: 101 for a connection that opened. @throws what is not a rejected handshake */
export async function statusOf(connecting: Promise<unknown>): Promise<number> {
  try {
    await connecting;
    return 101;
  } catch (error) {
    if (error instanceof Refused) return error.status;
    throw error;
  }
}

/** A browser's socket that remembers everything it was sent. */
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
        reject(new Refused(response.statusCode ?? 0));
      });
      socket.on("error", reject);
    });
  }

  /** Sends a message as it is: text is sent unchanged, anything else as JSON. */
  send(message: unknown): void {
    this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** Calls a handler and gives its answer. */
  async call(handler: string, fields: object = {}): Promise<Frame> {
    const id = randomUUID();
    this.send({ ...fields, handler, id });
    return this.next((frame) => frame.id === id);
  }

  /** Calls a handler that must be allowed, and gives what it returned. */
  async result(handler: string, fields: object = {}): Promise<unknown> {
    const answer = await this.call(handler, fields);
    if (answer.ok !== true) throw new Error(`${handler} was refused: ${JSON.stringify(answer)}`);
    return answer.result;
  }

  /** The first frame, received already or still to come, that fits. */
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

  /** The first pushed message of a type. */
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

/** `ann` is signed in with one login; `ann:phone` names another login of the same user. */
function cookieOf(user: string): string {
  return `login=${user.includes(":") ? user : `${user}:login-of-${user}`}`;
}

function loginFromCookie(request: Request) {
  const [, userId, sessionId] =
    /(?:^|;\s*)login=([^:;]+):([^;]+)/.exec(request.headers.get("cookie") ?? "") ?? [];
  return userId && sessionId ? { userId, sessionId } : null;
}
