import { randomBytes } from "node:crypto";
import * as v from "valibot";
import type { Decision } from "../audit/decision.ts";
import { gatewaySecret } from "../auth/gateways.ts";
import type { Limits } from "../auth/limits.ts";
import { closestMatch } from "../closest-match.ts";
import type { ManagementApi } from "../delivery/management-api.ts";
import { ConfigurationError } from "../errors.ts";
import { isPlainObject } from "../format-value.ts";
import { INTERNAL } from "../internal.ts";
import { booleanOption, optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import { CHANNEL_PARAMETER, SECRET_HEADER, TOKEN_PARAMETER } from "../protocol/gateway-call.ts";
import type { Sallyport } from "../sallyport.ts";
import { ClockedDatabase } from "../storage/sql/clocked-database.ts";
import { sqlite } from "../storage/sqlite.ts";
import type { Storage } from "../storage/store.ts";
import { TestClock } from "./clock.ts";
import { DeniedError, deniedDecision, TestSocket, type TestTransport } from "./socket.ts";

/** Options of {@link createTestApp}. */
export interface TestAppOptions {
  /**
   * The database. It is migrated, and closed with the test app. Default: an empty SQLite database
   * in memory.
   */
  readonly storage?: Storage | undefined;
  /** Rate limits of the app. Default: none, so that tests do not wait. */
  readonly limits?: Partial<Limits> | undefined;
}

const TEST_APP_OPTIONS = optionsOf<TestAppOptions>()({
  // createSallyport() checks their content.
  storage: v.optional(v.custom<Storage>(() => true)),
  limits: v.optional(v.custom<Partial<Limits>>(isPlainObject, "must be a plain object")),
});

/** Options of {@link TestApp.connectAs}. */
export interface ConnectAsOptions {
  /** Path of the view. Default: the only view of the app. */
  readonly view?: string | undefined;
  /** Channel to join. Default: the default channel of the view. */
  readonly channel?: string | undefined;
  /** Permissions that are granted to the user before connecting. Default: none. */
  readonly permissions?: readonly Permission[] | undefined;
  /** Groups that the user is added to before connecting. Default: none. */
  readonly groups?: readonly string[] | undefined;
  /** Makes the user a superuser, or not, before connecting. Default: no change. */
  readonly superuser?: boolean | undefined;
  /** Session id of the app. Default: one session per user. */
  readonly session?: string | undefined;
}

const CONNECT_AS_OPTIONS = optionsOf<ConnectAsOptions>()({
  view: v.optional(v.string("must be the path of a view")),
  channel: v.optional(v.string("must be the name of a channel")),
  permissions: v.optional(
    v.pipe(
      v.array(
        v.custom<Permission>((value) => typeof value === "string", "must be a permission"),
        "must be an array of permissions",
      ),
      v.readonly(),
    ),
  ),
  groups: v.optional(
    v.pipe(v.array(v.string("must be the name of a group"), "must be an array of groups"), v.readonly()),
  ),
  superuser: v.optional(booleanOption),
  session: v.optional(v.string("must be a session id")),
});

const ORIGIN = "https://test.example";
const TOKEN_PATH = "/sallyport-test-token";
const SESSION_HEADER = "x-sallyport-test-login";
const NO_LIMITS: Limits = {
  connectsPerUser: false,
  connectionsPerUser: false,
  connectsPerIp: false,
  failedConnectsPerIp: false,
  tokensPerUser: false,
  messagesPerConnection: false,
  messagesPerUser: false,
  messagesInFlightPerConnection: false,
  messagesInFlightPerUser: false,
  messagesInFlightPerProcess: false,
};

/**
 * Creates a copy of an app for tests. It uses the real checks and an empty database, without ports
 * and network.
 *
 * ```ts
 * const app = await createTestApp(sallyport);
 * const ann = await app.connectAs<ChatView>("ann", { permissions: [chat.can_use_chat] });
 * await ann.call.send_message({ message: "hi" });
 * await ann.expectDenied("delete_message", { message_id: 1 });
 * await app.close();
 * ```
 *
 * @param app the result of `createSallyport()`. It is not changed. Its views, channels, permissions
 *   and hooks are used with another database and `authenticate`. Messages that your code sends with
 *   `to()` of that object do not arrive here. Messages that a handler sends with its context do
 * @throws ConfigurationError if an option is invalid
 */
export async function createTestApp(app: Sallyport, options: TestAppOptions = {}): Promise<TestApp> {
  const testApp = new TestApp(app, parseOptions("createTestApp()", TEST_APP_OPTIONS, options));
  await testApp.prepare();
  return testApp;
}

/** A copy of an app for tests. {@link createTestApp} creates it. */
export class TestApp {
  /**
   * The app with the test database: `testApp.sallyport.access.revoke("ann", chat.can_use_chat)`.
   */
  readonly sallyport: Sallyport;
  /** The clock of the test database. */
  readonly clock: TestClock;
  /** All denials and revocations, in order. */
  readonly decisions: Decision[] = [];
  /** All errors that `onError` received. */
  readonly errors: unknown[] = [];
  readonly #sockets = new Map<string, { socket: TestSocket; view: string }>();
  readonly #secret = gatewaySecret();
  readonly #closing = new Set<Promise<void>>();

  constructor(app: Sallyport, options: TestAppOptions) {
    const storage = new ClockedDatabase(options.storage ?? sqlite(":memory:"));
    this.sallyport = app[INTERNAL].with({
      storage,
      authenticate: authenticateTestUser,
      origins: [ORIGIN],
      token: { path: TOKEN_PATH, binding: "session" },
      gatewayAuth: "secret",
      allowMissingOrigin: false,
      limits: { ...NO_LIMITS, ...options.limits },
      apiGateway: { client: this.#managementApi() },
      decisionLog: { sampleAllowed: 0 },
      onDecision: (decision) => this.decisions.push(decision),
      onError: (error) => this.errors.push(error),
    });
    this.clock = new TestClock(storage, () => this.sallyport.enforce());
  }

  /** Migrates the database and registers the gateway. {@link createTestApp} calls it. */
  async prepare(): Promise<void> {
    await this.sallyport.migrate();
    const endpoint = "https://test.execute-api.local.amazonaws.com/test";
    await this.sallyport.registerGateway({ name: "test", endpoint, secret: this.#secret });
  }

  /**
   * Connects a user through the token endpoint and `$connect`.
   *
   * @param user user id of the app, or `null` for a client that is not signed in
   * @throws DeniedError with the decision if the connection is denied
   * @throws ConfigurationError if an option is invalid
   */
  async connectAs<View = unknown>(
    user: string | null,
    connectOptions: ConnectAsOptions = {},
  ): Promise<TestSocket<View>> {
    const options = parseOptions("connectAs()", CONNECT_AS_OPTIONS, connectOptions);
    const { access } = this.sallyport;
    const view = this.#viewOf(options.view);
    if (user !== null) {
      for (const permission of options.permissions ?? []) await access.grant(user, permission);
      for (const group of options.groups ?? []) await access.users.addToGroup(user, group);
      if (options.superuser !== undefined) await access.users.setSuperuser(user, options.superuser);
    }
    const sessionHeaders: Record<string, string> =
      user === null
        ? {}
        : { [SESSION_HEADER]: JSON.stringify([user, options.session ?? `login of ${user}`]) };
    const query = new URLSearchParams();
    if (user !== null) query.set(TOKEN_PARAMETER, await this.#token(user, sessionHeaders));
    if (options.channel !== undefined) query.set(CHANNEL_PARAMETER, options.channel);
    const connectionId = `${randomBytes(11).toString("base64url")}=`;
    const socket = new TestSocket<View>(user, connectionId, this.#wire(view));
    this.#sockets.set(connectionId, { socket: socket as TestSocket, view });
    const headers = { ...sessionHeaders, origin: ORIGIN };
    const { status, body } = await this.#event(`${view}/connect?${query}`, connectionId, headers);
    if (status === 200) return socket;
    this.#sockets.delete(connectionId);
    throw await this.#denied(`Connecting ${user ?? "an anonymous client"} to ${view}`, status, body);
  }

  /**
   * Connects a user, and requires that the connection is denied with status 403.
   *
   * @returns the decision, so that a test can check the reason
   * @throws Error if the connection opened, or failed with another status
   */
  async expectForbidden(user: string | null, options: ConnectAsOptions = {}): Promise<Decision> {
    const what = `Connecting ${user ?? "an anonymous client"}`;
    try {
      const socket = await this.connectAs(user, options);
      await socket.close();
    } catch (error) {
      return deniedDecision(error, what);
    }
    throw new Error(`${what} must be denied, but the connection opened. Check the rules of the view.`);
  }

  /** Closes all connections, the app and the database. */
  async close(): Promise<void> {
    for (const { socket } of this.#sockets.values()) await socket.close();
    await Promise.all(this.#closing);
    await this.sallyport.close();
  }

  async #token(user: string, sessionHeaders: Record<string, string>): Promise<string> {
    const request = new Request(`http://test.local${TOKEN_PATH}`, {
      method: "POST",
      headers: { ...sessionHeaders, origin: ORIGIN },
    });
    const response = await this.sallyport.fetch(request);
    const body = (await response?.json()) as { token?: string };
    if (body.token !== undefined) return body.token;
    throw await this.#denied(`The token request of ${user}`, response?.status ?? 0, body);
  }

  async #event(
    path: string,
    connectionId: string,
    headers: Record<string, string> = {},
    body = "",
  ): Promise<{ status: number; body: unknown }> {
    const response = await this.sallyport.fetch(
      new Request(`http://test.local${path}`, {
        method: "POST",
        headers: {
          ...headers,
          connectionId,
          [SECRET_HEADER]: this.#secret,
          "x-sallyport-source-ip": "192.0.2.1",
        },
        body,
      }),
    );
    return { status: response?.status ?? 0, body: await response?.json() };
  }

  #wire(view: string): TestTransport {
    return {
      message: (connectionId, body) => this.#event(`${view}/default`, connectionId, {}, body),
      disconnect: async (connectionId) => {
        this.#sockets.delete(connectionId);
        await this.#event(`${view}/disconnect`, connectionId);
      },
      why: (reference) => this.sallyport.access.explain(reference),
    };
  }

  async #denied(what: string, status: number, body: unknown): Promise<DeniedError> {
    const { reference = "" } = body as { reference?: string };
    return new DeniedError(what, status, reference, await this.sallyport.access.explain(reference));
  }

  /** Returns a Management API that delivers to the test connections without a network. */
  #managementApi(): ManagementApi {
    return {
      post: async (_endpoint, connectionId, frame) => {
        const open = this.#sockets.get(connectionId);
        open?.socket.received.push(JSON.parse(frame));
        return { kind: open ? "ok" : "gone" };
      },
      delete: async (_endpoint, connectionId) => {
        const open = this.#sockets.get(connectionId);
        if (!open) return { kind: "gone" };
        open.socket.ended();
        this.#sockets.delete(connectionId);
        const closing: Promise<void> = this.#event(`${open.view}/disconnect`, connectionId).then(() => {
          this.#closing.delete(closing);
        });
        this.#closing.add(closing);
        return { kind: "ok" };
      },
      get: async (_endpoint, connectionId) => ({ kind: this.#sockets.has(connectionId) ? "ok" : "gone" }),
      close: async () => undefined,
    };
  }

  #viewOf(path: string | undefined): string {
    const { viewPaths } = this.sallyport;
    if (path !== undefined) {
      if (viewPaths.includes(path)) return path;
      const suggestion = closestMatch(path, viewPaths) || ` Use one of: ${viewPaths.join(", ")}.`;
      throw new ConfigurationError(`No view is mounted at "${path}".${suggestion}`, {
        code: "SALLYPORT_UNKNOWN_NAME",
      });
    }
    const [first, ...others] = viewPaths;
    if (first !== undefined && others.length === 0) return first;
    throw new ConfigurationError(
      `connectAs(): the app has ${viewPaths.length} views, so the view to connect to is not known. ` +
        `Set the option view, for example { view: "${first}" }.`,
    );
  }
}

function authenticateTestUser(request: Request) {
  const session = request.headers.get(SESSION_HEADER);
  if (session === null) return null;
  const [userId, sessionId] = JSON.parse(session) as [string, string];
  return { userId, sessionId };
}
