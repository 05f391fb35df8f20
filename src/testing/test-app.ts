import { randomBytes } from "node:crypto";
import * as v from "valibot";
import type { Decision } from "../audit/decision.ts";
import { gatewaySecret } from "../auth/gateways.ts";
import type { Limits } from "../auth/rate-limits.ts";
import { closestMatch } from "../closest-match.ts";
import type { ManagementApi } from "../delivery/management-api.ts";
import { ConfigurationError } from "../errors.ts";
import { isPlainObject } from "../format-value.ts";
import { booleanOption, optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import { CHANNEL_PARAMETER, SECRET_HEADER, TOKEN_PARAMETER } from "../protocol/gateway-call.ts";
import type { Sallyport } from "../sallyport.ts";
import type { Database } from "../storage/database.ts";
import { sqlite } from "../storage/sqlite.ts";
import { ClockedDatabase, TestClock } from "./clock.ts";
import { DeniedError, deniedDecision, TestSocket, type Wire } from "./socket.ts";

/** How a test's world differs from the app's. */
export interface TestAppOptions {
  /** Default: an empty SQLite database in memory. It is migrated, and closed with the harness. */
  readonly storage?: Database | undefined;
  /** Default: none, so that no test waits. */
  readonly limits?: Partial<Limits> | undefined;
}

const HARNESS_OPTIONS = optionsOf<TestAppOptions>()({
  // createSallyport() checks what is in them.
  storage: v.optional(v.custom<Database>(() => true)),
  limits: v.optional(v.custom<Partial<Limits>>(isPlainObject, "must be a plain object")),
});

/** How somebody connects. */
export interface ConnectAsOptions {
  /** Path of the view. Default: the app's only one. */
  readonly view?: string | undefined;
  readonly channel?: string | undefined;
  /** Granted to the user directly, before connecting. */
  readonly permissions?: readonly Permission[] | undefined;
  /** Groups that the user is put into before connecting. */
  readonly groups?: readonly string[] | undefined;
  /** Makes the user a superuser before connecting. */
  readonly superuser?: boolean | undefined;
  /** The app's id of the login. Default: one for each user. */
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
const LOGIN_HEADER = "x-sallyport-test-login";
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
 * The app in a world of its own, for tests: every guard is the real one, the database is empty, and nothing leaves the
 * process: no port, no network.
 *
 * ```ts
 * const harness = await openHarness(sallyport);
 * const ann = await harness.connectAs<ChatView>("ann", { channel: "rooms/general", permissions: [chat.can_use_chat] });
 * await ann.call.send_message({ message: "hi" });
 * await ann.expectDenied("delete_message", { message_id: 1 });
 * await harness.close();
 * ```
 *
 * @param app what `createSallyport()` gave. It is not touched: its views, channels, permissions and hooks are used, with
 *   another database and login. Code of yours that sends through the app's own object, and not through a handler's
 *   context, does not arrive here
 */
export async function createTestApp(app: Sallyport, options: TestAppOptions = {}): Promise<TestApp> {
  const harness = new TestApp(app, parseOptions("openHarness()", HARNESS_OPTIONS, options));
  await harness.prepare();
  return harness;
}

export class TestApp {
  /** The app over the test's database: `harness.sallyport.access.revoke("ann", chat.can_use_chat)`. */
  readonly sallyport: Sallyport;
  readonly clock: TestClock;
  /** Every refusal and every right that ended, in order. */
  readonly decisions: Decision[] = [];
  /** Everything that reached `onError`. */
  readonly errors: unknown[] = [];
  readonly #sockets = new Map<string, { socket: TestSocket; view: string }>();
  readonly #secret = gatewaySecret();
  readonly #ending = new Set<Promise<void>>();

  constructor(app: Sallyport, options: TestAppOptions) {
    const storage = new ClockedDatabase(options.storage ?? sqlite(":memory:"));
    this.sallyport = app.with({
      storage,
      authenticate: loginOf,
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

  /** For {@link createTestApp}. */
  async prepare(): Promise<void> {
    await this.sallyport.migrate();
    const endpoint = "https://test.execute-api.local.amazonaws.com/test";
    await this.sallyport.registerGateway({ name: "test", endpoint, secret: this.#secret });
  }

  /**
   * Connects a user, or with null somebody who has not signed in, through token endpoint and `$connect`.
   *
   * @throws DeniedError with the decision when the gate says no
   */
  async connectAs<View = unknown>(
    user: string | null,
    given: ConnectAsOptions = {},
  ): Promise<TestSocket<View>> {
    const options = parseOptions("connectAs()", CONNECT_AS_OPTIONS, given);
    const { access } = this.sallyport;
    const view = this.#viewOf(options.view);
    if (user !== null) {
      for (const permission of options.permissions ?? []) await access.grant(user, permission);
      for (const group of options.groups ?? []) await access.addToGroup(user, group);
      if (options.superuser !== undefined) await access.setSuperuser(user, options.superuser);
    }
    const login: Record<string, string> =
      user === null ? {} : { [LOGIN_HEADER]: JSON.stringify([user, options.session ?? `login of ${user}`]) };
    const query = new URLSearchParams();
    if (user !== null) query.set(TOKEN_PARAMETER, await this.#token(user, login));
    if (options.channel !== undefined) query.set(CHANNEL_PARAMETER, options.channel);
    const connectionId = `${randomBytes(11).toString("base64url")}=`;
    const socket = new TestSocket<View>(user, connectionId, this.#wire(view));
    this.#sockets.set(connectionId, { socket: socket as TestSocket, view });
    const headers = { ...login, origin: ORIGIN };
    const { status, body } = await this.#event(`${view}/connect?${query}`, connectionId, headers);
    if (status === 200) return socket;
    this.#sockets.delete(connectionId);
    throw await this.#denied(`${view} for ${user ?? "nobody"}`, status, body);
  }

  /** Connects somebody who must be refused, with 403. @returns the decision @throws Error when the socket opened */
  async expectDenied(user: string | null, options: ConnectAsOptions = {}): Promise<Decision> {
    const what = `connecting ${user ?? "nobody"}`;
    try {
      const socket = await this.connectAs(user, options);
      await socket.close();
    } catch (error) {
      return deniedDecision(error, what);
    }
    throw new Error(`${what} was to be denied, but the socket opened.`);
  }

  async close(): Promise<void> {
    for (const { socket } of this.#sockets.values()) await socket.close();
    await Promise.all(this.#ending);
    await this.sallyport.close();
  }

  async #token(user: string, login: Record<string, string>): Promise<string> {
    const request = new Request(`http://test.local${TOKEN_PATH}`, {
      method: "POST",
      headers: { ...login, origin: ORIGIN },
    });
    const response = await this.sallyport.fetch(request);
    const body = (await response?.json()) as { token?: string };
    if (body.token !== undefined) return body.token;
    throw await this.#denied(`a token for ${user}`, response?.status ?? 0, body);
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

  #wire(view: string): Wire {
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

  /** What API Gateway would do with a send or a close, without its network. */
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
        const ended: Promise<void> = this.#event(`${open.view}/disconnect`, connectionId).then(() => {
          this.#ending.delete(ended);
        });
        this.#ending.add(ended);
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
      throw new ConfigurationError(`No view is mounted at "${path}".${closestMatch(path, viewPaths)}`, {
        code: "SALLYPORT_UNKNOWN_NAME",
      });
    }
    const [first, ...others] = viewPaths;
    if (first !== undefined && others.length === 0) return first;
    throw new ConfigurationError(
      `The app has ${others.length + 1} views; say which: connectAs(user, { view: "${first}" }).`,
    );
  }
}

function loginOf(request: Request) {
  const login = request.headers.get(LOGIN_HEADER);
  if (login === null) return null;
  const [userId, sessionId] = JSON.parse(login) as [string, string];
  return { userId, sessionId };
}
