import pLimit from "p-limit";
import * as v from "valibot";
import { Access } from "./admin/access.ts";
import { BackgroundCleanup } from "./admin/background-cleanup.ts";
import { type CleanupOptions, type CleanupResult, cleanup } from "./admin/cleanup.ts";
import { type ConnectionInfo, type ConnectionQuery, listConnections } from "./admin/connections.ts";
import { type Health, HealthCheck } from "./admin/health.ts";
import { type MigrationResult, migrate } from "./admin/migrate.ts";
import { close, flush, type RunningTasks } from "./admin/shutdown.ts";
import { Audit } from "./audit/audit-log.ts";
import {
  allowed,
  createDecisionContext,
  type Decision,
  type DecisionContext,
  denied,
  newReference,
} from "./audit/decision.ts";
import { DecisionLog } from "./audit/decision-log.ts";
import { ConnectLimits } from "./auth/connect-limits.ts";
import { EndedSessions } from "./auth/ended-sessions.ts";
import { GatewayAuthenticator } from "./auth/gateway-auth.ts";
import { type GatewayRegistration, Gateways } from "./auth/gateways.ts";
import { LimitSettings } from "./auth/limit-settings.ts";
import { LoopbackDenials } from "./auth/loopback-denials.ts";
import { MessageLimits } from "./auth/message-limits.ts";
import { MessagesInFlight } from "./auth/messages-in-flight.ts";
import { type OriginDecision, Origins } from "./auth/origins.ts";
import { RateLimits } from "./auth/rate-limits.ts";
import { Tokens } from "./auth/tokens.ts";
import type { GatewayDefinition } from "./aws/define-gateway.ts";
import { definedGateways, getDefinition } from "./aws/defined-gateways.ts";
import type { ProvisioningServices } from "./aws/provisioning/services.ts";
import { parseConfig, type SallyportOptions, type UserDirectory } from "./config.ts";
import { Activity } from "./connections/activity.ts";
import type { Audience, Requirement } from "./delivery/audience.ts";
import { BoundedManagementApi } from "./delivery/bounded-api.ts";
import { Delivery } from "./delivery/delivery.ts";
import { HttpManagementApi, type ManagementApi } from "./delivery/management-api.ts";
import { sendingBounds } from "./delivery/options.ts";
import { toRequestError } from "./delivery/to-request-error.ts";
import { printError } from "./error-output.ts";
import { ErrorReporter } from "./error-reporter.ts";
import { ConfigurationError, ForbiddenError, RequestError, SallyportError } from "./errors.ts";
import { connect } from "./events/connect.ts";
import { ConnectionProbes } from "./events/connection-probes.ts";
import { disconnect } from "./events/disconnect.ts";
import { JOINS_AT_ONCE } from "./events/join.ts";
import { type MessageState, message } from "./events/message.ts";
import { OrphanedConnections } from "./events/orphaned-connections.ts";
import { PendingDisconnects } from "./events/pending-disconnects.ts";
import { issueToken } from "./events/token.ts";
import { formatValue, isPlainObject } from "./format-value.ts";
import { type Answer, type DenialResponse, deniedAnswer, reply, succeeded } from "./http/response.ts";
import { booleanOption, numberOption, optionsOf, parseOptions } from "./options.ts";
import { PermissionCatalog } from "./permissions/define.ts";
import type { ChangeOptions } from "./permissions/grants.ts";
import { decodeGatewayCall } from "./protocol/gateway-call.ts";
import { type HttpAnswer, type HttpCall, ownWebCall, webResponse } from "./protocol/http-call.ts";
import { ChangedSubjects } from "./revocation/changed-subjects.ts";
import { RevocationPoller } from "./revocation/poller.ts";
import { RevocationQueue } from "./revocation/queue.ts";
import { UnfinishedCloses } from "./revocation/unfinished-closes.ts";
import { RevocationWorker } from "./revocation/worker.ts";
import { closeTooSlow } from "./sending/close-too-slow.ts";
import { SendCapacity } from "./sending/send-capacity.ts";
import { SendOrder } from "./sending/send-order.ts";
import { createSender, requirementOf } from "./sending/sender.ts";
import type { Services } from "./services.ts";
import { withStorageErrors } from "./storage/storage-errors.ts";
import type { Gateway } from "./storage/stores/gateways.ts";
import { Channels } from "./views/channels.ts";
import type { Sender } from "./views/context.ts";
import { type MountedView, mountViews } from "./views/mount.ts";

/** Identifies a Sallyport object, also if the CLI has loaded another copy of this package. */
export const SALLYPORT = Symbol.for("sallyport");

/**
 * Creates the Sallyport object of an app. Create one per app and process.
 *
 * The call opens no port and starts no timer. The database connection opens on first use.
 *
 * @param options what to mount and where to store it. `docs/options.md` lists every option
 * @throws ConfigurationError if an option is invalid. The message names the option to change
 */
export function createSallyport(options: SallyportOptions): Sallyport {
  return new Sallyport(options);
}

/** The main object of an app. {@link createSallyport} creates it. */
export class Sallyport {
  readonly [SALLYPORT] = true;
  /** The declared permissions: finds one by its name, and lists all of them. */
  readonly permissions: PermissionCatalog;
  /** Reads and changes users, groups and grants, and explains decisions. */
  readonly access: Access;
  /** The `users` option of the app, which resolves user names on the command line. */
  readonly users: UserDirectory;
  /** The defined gateways, and the services that provision them. For the CLI. */
  readonly provisioning: ProvisioningServices;
  readonly #options: SallyportOptions;
  readonly #services: Services;
  readonly #api: ManagementApi;
  readonly #worker: RevocationWorker;
  readonly #poller: RevocationPoller;
  readonly #healthCheck: HealthCheck;
  readonly #pendingDisconnects: PendingDisconnects;
  readonly #cleanup: BackgroundCleanup;
  /** Number of events that wait for their response. */
  #eventsInFlight = 0;
  readonly #tokenPath: string;
  /** Path of the health-check endpoint for a load balancer. `undefined` if it is disabled. */
  readonly healthPath: string | undefined;

  constructor(options: SallyportOptions) {
    const config = parseConfig(options);
    this.#options = options;
    const { client, credentials, region } = config.apiGateway;
    this.#api = client ? new BoundedManagementApi(client) : new HttpManagementApi({ credentials, region });
    const { storage } = config;
    const { store } = storage;
    const errors = new ErrorReporter(catchListenerErrors(config.onError ?? printError), (error) =>
      storage.failure(error),
    );
    const onError = (error: unknown, where: string) => errors.report(error, where);
    const catalog = new PermissionCatalog(config.permissions);
    const channels = new Channels(config.channels, catalog);
    const views = mountViews(config.views, catalog, channels);
    const ruleOwners = [...views.keys(), ...channels.list().map(({ pattern }) => pattern)].sort();
    const revocations = new RevocationQueue(store.revocations, ruleOwners.join("\n"));
    const gateways = new Gateways(storage);
    const onDecision = catchListenerErrors(config.onDecision ?? developmentLog(), (error) =>
      onError(error, "onDecision"),
    );
    const decisionLog = new DecisionLog(store.decisions, config.decisionLog, { onDecision, onError });
    const tokens = new Tokens(store.tokens, config.token.expiresInSeconds);
    const limits = new LimitSettings(config.limits, views);
    const rateLimits = new RateLimits(store.limits);
    const delivery = new Delivery(this.#api, sendingBounds(config.apiGateway), (recipient) =>
      closeTooSlow(this.#services, recipient),
    );
    const sends = new Set<Promise<unknown>>();
    this.#services = {
      storage,
      store,
      permissions: catalog,
      gatewayAuthenticator: new GatewayAuthenticator(gateways, config.gatewayAuth),
      origins: new Origins(config.origins, config.allowMissingOrigin),
      limits,
      rateLimits,
      connectLimits: new ConnectLimits(store.limits, limits, rateLimits),
      messageLimits: new MessageLimits(limits),
      messagesInFlight: new MessagesInFlight(config.limits),
      tokens,
      endedSessions: new EndedSessions(store.sessions, config.endedSessions, onError),
      audit: new Audit(store.audit),
      decisionLog,
      revocations,
      changedSubjects: new ChangedSubjects(),
      gateways,
      connectionProbes: new ConnectionProbes(this.#api, store.connections),
      orphanedConnections: new OrphanedConnections({
        connections: store.connections,
        delivery,
        sends,
        onError,
      }),
      unfinishedCloses: new UnfinishedCloses({ connections: store.connections, delivery, onError }),
      activity: new Activity(store, onError),
      joinTurns: pLimit(JOINS_AT_ONCE),
      delivery,
      sendOrder: new SendOrder(),
      sendCapacity: new SendCapacity(config.apiGateway.maxQueuedBytes),
      sends,
      channels,
      views,
      authenticate: config.authenticate,
      tokenBinding: config.token.binding,
      tokenExpirySeconds: config.token.expiresInSeconds,
      trustProxy: config.trustProxy,
      recordDecision: (decision) => {
        const reference = decisionLog.add(decision);
        config.telemetry?.decided({ ...decision, reference });
        return reference;
      },
      startPolling: () => {
        this.#cleanup.start();
        return this.#poller.start();
      },
      telemetry: config.telemetry,
      onError,
      errors,
    };
    this.#tokenPath = config.token.path;
    this.healthPath = config.healthPath;
    this.#worker = new RevocationWorker(this.#services);
    this.#poller = new RevocationPoller(this.#services, this.#worker);
    this.#healthCheck = new HealthCheck(storage);
    this.#pendingDisconnects = new PendingDisconnects(this.#services);
    this.#cleanup = new BackgroundCleanup(this.#services);
    this.permissions = catalog;
    this.access = new Access(this.#services, this.#worker);
    this.users = config.users;
    const definitions = definedGateways(config.gateways, views);
    this.provisioning = { definitions, gateways, store };
  }

  /** Paths of the mounted views. */
  get viewPaths(): readonly string[] {
    return [...this.#services.views.keys()];
  }

  /** Path of the endpoint that issues tokens. */
  get tokenPath(): string {
    return this.#tokenPath;
  }

  /**
   * Returns a new Sallyport object with some options replaced, for example another database in
   * tests.
   *
   * @param options the options to replace. The fields of `token` are merged with the current ones
   * @throws ConfigurationError if an option is invalid
   */
  with(options: Partial<SallyportOptions>): Sallyport {
    if (!isPlainObject(options)) {
      throw new ConfigurationError(
        `with(): the options must be a plain object, but received ${formatValue(options)}. ` +
          "Pass the options to replace, such as { storage }.",
      );
    }
    const own = this.#options.token ?? {};
    const token = isPlainObject(options.token) ? { ...own, ...options.token } : (options.token ?? own);
    return new Sallyport({ ...this.#options, ...options, token });
  }

  /**
   * Handles a request to one of Sallyport's paths: the token endpoint, the health check, or an
   * event of API Gateway.
   *
   * A denied or failed event resolves to a response with its status. Calls can run concurrently.
   *
   * @param request the request. Its body must not have been read before
   * @returns the response, or `undefined` if the path is not Sallyport's. Then the app handles the
   *   request
   */
  async fetch(request: Request): Promise<Response | undefined> {
    const call = ownWebCall(request);
    const answer = call && (await this.answer(call));
    return answer && webResponse(answer);
  }

  /**
   * Handles a request like {@link fetch}, without web `Request` and `Response` objects. For
   * adapters.
   *
   * Those objects cost as much processor time as the decision about an event.
   *
   * @returns `undefined` if the path is not Sallyport's
   */
  async answer(http: HttpCall): Promise<HttpAnswer | undefined> {
    const pathname = http.path ?? http.url.pathname;
    if (pathname === this.#tokenPath) return this.#token(http, pathname);
    if (pathname === this.healthPath) return this.#health(http);
    const [, viewPath = "", route = ""] = /^(.*)\/([A-Za-z0-9_-]+)$/.exec(pathname) ?? [];
    const view = this.#services.views.get(viewPath);
    // API Gateway sends events as POST. Other methods get the response of an unknown path, so that
    // clients cannot find out which views exist.
    if (!view || http.method !== "POST") return undefined;
    this.start();
    this.#eventsInFlight++;
    try {
      return await this.#handleObservedEvent(view, pathname, route, http);
    } finally {
      this.#eventsInFlight--;
    }
  }

  /**
   * Returns a sender of messages from the server to an audience.
   *
   * The permissions of each recipient are checked when a message is sent.
   *
   * @param audience the recipients, such as `{ channel: "rooms/general" }` or `{ user: "42" }`
   * @param requirement a rule that each recipient must also meet. Default: none
   * @throws ConfigurationError if no definition matches the channel, or an argument is invalid
   */
  to(audience: Audience, ...requirement: readonly [requirement?: Requirement]): Sender {
    return createSender(this.#services, audience, requirementOf(requirement));
  }

  /**
   * Returns open connections in the order of their ids, one page at a time.
   *
   * @param query filters by user, view or channel. `limit` is 1 to 1000, default 100. To read the
   *   next page, pass the last id as `after`
   * @throws ConfigurationError if the query is invalid
   * @throws StorageError if the database fails
   */
  listConnections(query: ConnectionQuery = {}): Promise<readonly ConnectionInfo[]> {
    return this.#withStorageErrors(() => listConnections(this.#services, query));
  }

  /**
   * Checks whether this process can serve: it is not closed, and its database accepts a write
   * within two seconds.
   *
   * The endpoint at `healthPath` returns the result as 200 or 503. Its result is at most one second
   * old.
   *
   * @returns the result, with the reason if the check failed. The call does not throw
   */
  health(): Promise<Health> {
    return this.#healthCheck.check();
  }

  /**
   * Applies recorded permission changes to open connections: closes those that lost access, and
   * removes the others from channels that they may no longer read.
   *
   * Processes that serve events do this themselves. Call it on a schedule if no process runs all
   * the time.
   *
   * @returns the number of connections that lost access to a view or a channel
   * @throws StorageError if the database fails
   */
  enforce(): Promise<number> {
    return this.#withStorageErrors(() => this.#worker.enforce());
  }

  /**
   * Starts the background jobs: the revocation poller, and the removal of old rows.
   *
   * The first event starts them too. {@link flush} pauses them until the next event.
   */
  start(): void {
    void this.#poller.start();
    this.#cleanup.start();
  }

  /**
   * Returns a gateway of the `gateways` option.
   *
   * @param name name of the gateway. Default: the only gateway of the app
   * @throws ConfigurationError if no gateway has that name, or if `name` is missing and the app has
   *   several
   */
  gatewayDefinition(name?: string): GatewayDefinition {
    return getDefinition(this.provisioning.definitions, name);
  }

  /**
   * Stores a gateway, or replaces the gateway with the same name. Its open connections remain.
   *
   * @throws ConfigurationError if the registration is invalid
   * @throws StorageError if the database fails
   */
  registerGateway(registration: GatewayRegistration): Promise<Gateway> {
    return this.#withStorageErrors(() => this.#services.gateways.register(registration));
  }

  /**
   * Closes the rows of all connections of a gateway, without closing sockets. For the local
   * gateway, which has no open sockets after a restart.
   *
   * @returns the number of rows that were closed
   */
  async closeAllConnectionRows(gateway: Gateway): Promise<number> {
    return this.#withStorageErrors(() =>
      this.#services.store.connections.closeAllOf(gateway.id, "gateway restarted"),
    );
  }

  /**
   * Migrates the database schema, and stores the declared permissions and rules in the database.
   *
   * Then it closes the connections that a stricter rule no longer allows. The stored rules are
   * those of this version of the app only. Run it once per deployment.
   *
   * @param options `by` and `reason` for the audit log. `by` defaults to "migrate"
   * @returns the migrations that ran, new and stale permissions, and changed rules
   * @throws ConfigurationError if an option is invalid
   * @throws StorageError if the database fails. With the code `SALLYPORT_COMMITTED`, the migration
   *   is complete, and a serving process checks the open connections
   */
  async migrate(options?: ChangeOptions): Promise<MigrationResult> {
    return this.#withStorageErrors(() => migrate(this.#services, this.#worker, options));
  }

  /**
   * Removes old rows: closed connections, expired tokens, expired rate-limit windows and old
   * decisions.
   *
   * Processes that serve events remove old rows themselves, so a call is optional. Only a call with
   * `keepAuditDays` removes entries of the audit log.
   *
   * @returns the number of removed rows per table
   * @throws ConfigurationError if an option is invalid
   * @throws StorageError if the database fails
   */
  cleanup(options: CleanupOptions = {}): Promise<CleanupResult> {
    return this.#withStorageErrors(() => cleanup(this.#services, options));
  }

  /**
   * Finishes the background work: sends, due revocations, and unwritten activity and decisions.
   *
   * Afterwards no work is in flight and no timer runs until the next request. Call it before a
   * runtime freezes the process, for example at the end of an AWS Lambda invocation.
   *
   * @param options.withinMs maximum duration in milliseconds, default 5000. Unfinished work
   *   continues later, in this or another process
   * @param options.onlyDue skips work that ran recently. That is the check for expired grants and
   *   for changes by other processes (every 3 seconds), and writing activity (every 5 seconds). Set
   *   it for a call after each event. Default `false`
   * @throws ConfigurationError if an option is invalid
   */
  async flush(options: FlushOptions = {}): Promise<void> {
    const { withinMs, onlyDue } = parseOptions("flush()", FLUSH_OPTIONS, options);
    await flush(this.#runningTasks, withinMs, onlyDue);
  }

  /**
   * Ends sends that are in flight, stops the background jobs, and closes the connections to AWS and
   * to the database.
   *
   * It takes at most about six seconds, plus the time in which the database closes.
   */
  close(): Promise<void> {
    return close(this.#runningTasks);
  }

  #withStorageErrors<Result>(work: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.storage, work);
  }

  get #runningTasks(): RunningTasks {
    return {
      services: this.#services,
      api: this.#api,
      worker: this.#worker,
      poller: this.#poller,
      pendingDisconnects: this.#pendingDisconnects,
      cleanup: this.#cleanup,
      isAnswering: () => this.#eventsInFlight > 0,
    };
  }

  /** Returns no details, because any client can call the endpoint. */
  async #health(http: HttpCall): Promise<HttpAnswer> {
    if (http.method !== "GET" && http.method !== "HEAD") return methodNotAllowed("GET, HEAD");
    const { isHealthy } = await this.#healthCheck.recent();
    return reply(isHealthy ? 200 : 503, { ok: isHealthy }, { "cache-control": "no-store" });
  }

  async #token(http: HttpCall, path: string): Promise<HttpAnswer> {
    const page = await this.#services.origins.decide(http.header("origin"));
    if (http.method === "OPTIONS") return { status: 204, headers: corsHeaders(page), body: null };
    if (http.method !== "POST") return methodNotAllowed("POST, OPTIONS");
    this.start();
    const context = createDecisionContext("token", path);
    const { telemetry } = this.#services;
    const work = () => this.#issueToken(http, context, page);
    if (!telemetry) return work();
    return telemetry.event({ kind: "token", view: undefined }, work, ({ status }) => ({ status }));
  }

  async #issueToken(http: HttpCall, context: DecisionContext, page: OriginDecision): Promise<HttpAnswer> {
    const cors = corsHeaders(page);
    try {
      const token = await issueToken(this.#services, http, page, context);
      this.#sampleAllowed(context);
      return reply(200, token, cors);
    } catch (error) {
      const { status, body, headers } = await this.#denialResponse(error, context);
      return reply(status, body, { ...headers, ...cors });
    }
  }

  #handleObservedEvent(view: MountedView, path: string, route: string, http: HttpCall): Promise<HttpAnswer> {
    const kind = route === "connect" || route === "disconnect" ? route : "message";
    const context: DecisionContext = createDecisionContext(kind, path);
    context.view = view.path;
    const { telemetry } = this.#services;
    const envelope: MessageState = {};
    const work = () => this.#handleEvent(view, kind, http, context, envelope);
    if (!telemetry) return work();
    return telemetry.event({ kind, view: view.path }, work, ({ status }) => ({
      status: envelope.status ?? status,
      // Before all checks have passed, the name can be any text of the client.
      handler: context.authorizationMs === undefined ? undefined : context.handler,
      authorizationMs: context.authorizationMs,
      connectionId: context.connectionId,
      requestId: context.requestId,
    }));
  }

  async #handleEvent(
    view: MountedView,
    kind: "connect" | "message" | "disconnect",
    http: HttpCall,
    context: DecisionContext,
    envelope: MessageState,
  ): Promise<HttpAnswer> {
    try {
      const call = decodeGatewayCall(kind, http);
      if (call.connectionId !== "") context.connectionId = call.connectionId.slice(0, 200);
      if (call.requestId !== undefined) context.requestId = call.requestId.slice(0, 200);
      let answer: Answer;
      try {
        answer = succeeded(await this.#decide(view, call, http, context, envelope), context);
        if (kind !== "disconnect") this.#sampleAllowed(context);
      } catch (error) {
        const denial = await this.#denialResponse(error, context);
        envelope.status = denial.status;
        answer = deniedAnswer(denial, context);
      }
      if (kind === "message" && envelope.gateway?.replies === "push") {
        await this.#pushAnswer(envelope.gateway, call.connectionId, answer, envelope, context);
        // While the setting changes, the gateway can still forward this body. Clients ignore an
        // empty one.
        return reply(200, "", answer.headers);
      }
      return reply(answer.status, answer.body, answer.headers);
    } finally {
      envelope.inFlight?.leave();
    }
  }

  #decide(
    view: MountedView,
    call: ReturnType<typeof decodeGatewayCall>,
    http: HttpCall,
    context: DecisionContext,
    envelope: MessageState,
  ): Promise<unknown> {
    if (call.kind === "connect") return connect(this.#services, view, call, http, context);
    if (call.kind === "disconnect") {
      return disconnect(this.#services, view, call, context).catch((error: unknown) => {
        this.#pendingDisconnects.keep(error, view, call, context.path);
        throw error;
      });
    }
    return message(this.#services, view, call, http, context, envelope);
  }

  /**
   * Sends the answer of a message as a push, for a gateway without route responses.
   *
   * The answer can wait in the delivery queue. The permissions are checked again before it is sent.
   */
  async #pushAnswer(
    gateway: Gateway,
    connectionId: string,
    answer: Answer,
    { recipient: connection, shouldSend }: MessageState,
    context: DecisionContext,
  ): Promise<void> {
    const recipient = {
      connectionKey: connection?.id ?? "",
      userId: connection?.userId ?? null,
      connectionId,
      endpoint: gateway.endpoint,
      connectedAt: 0,
    };
    // The text of an error that a handler threw also requires the permission.
    const options = shouldSend ? { shouldSend: shouldSend } : {};
    const outcome = await this.#services.delivery.post(recipient, answer.body, options);
    if (outcome.kind === "denied") {
      const denial = new ForbiddenError(
        "The user lost the permission while the answer waited to be sent. Grant it to deliver later answers.",
        { reason: "permission" },
      );
      const { body } = deniedAnswer(await this.#denialResponse(denial, context), context);
      await this.#services.delivery.post(recipient, body);
    } else if (outcome.kind === "failed") {
      this.#services.onError(new Error(outcome.reason), `sending the answer to connection ${connectionId}`);
    }
  }

  /** Stores a sample of the allowed decisions, with their steps. */
  #sampleAllowed(context: DecisionContext): void {
    if (this.#services.decisionLog.isSampled())
      this.#services.recordDecision(allowed(context, newReference()));
  }

  /**
   * Converts an error to a response. A denial is stored before the client receives its reference.
   */
  async #denialResponse(error: unknown, context: DecisionContext): Promise<DenialResponse> {
    const failure = toRequestError(this.#services.storage.failure(error));
    if (failure instanceof RequestError) {
      const reference = this.#services.recordDecision(denied(context, failure, newReference()));
      await this.#services.decisionLog.flush();
      const headers: Record<string, string> =
        failure.retryAfterSeconds === undefined ? {} : { "retry-after": String(failure.retryAfterSeconds) };
      return {
        status: failure.status,
        body: { ok: false, error: failure.clientMessage, reference },
        headers,
      };
    }
    const reference = newReference();
    const handler = context.handler === undefined ? "" : ` handler ${context.handler}`;
    this.#services.onError(failure, `${context.path}${handler} (reference ${reference})`);
    const [status, replyText] =
      failure instanceof SallyportError ? [failure.status, failure.clientMessage] : [500, "Internal error."];
    return { status, body: { ok: false, error: replyText, reference }, headers: {} };
  }
}

/** Returns the CORS headers with which a page of an allowed origin can read the token response. */
function corsHeaders({ origin, isAllowed }: OriginDecision): Record<string, string> {
  if (origin === undefined || !isAllowed) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-credentials": "true",
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "content-type, x-csrftoken",
    // Pages on other origins cannot read it by default.
    // Source: Fetch standard, "CORS-safelisted response-header name".
    "access-control-expose-headers": "retry-after",
    vary: "Origin",
  };
}

/**
 * Returns the listener for decisions of an app without `onDecision`. It prints denials in
 * development.
 */
function developmentLog(): (decision: Decision) => void {
  if (process.env.NODE_ENV === "production") return () => undefined;
  const denials = new LoopbackDenials();
  return (decision) => denials.print(decision);
}

interface FlushOptions {
  readonly withinMs?: number | undefined;
  readonly onlyDue?: boolean | undefined;
}

const FLUSH_OPTIONS = optionsOf<FlushOptions>()({
  withinMs: v.optional(numberOption(0, 2 ** 31 - 1, "a number of milliseconds of at least 0"), 5000),
  onlyDue: v.optional(booleanOption, false),
});

function methodNotAllowed(allow: string): HttpAnswer {
  return reply(405, { ok: false, error: "Method not allowed." }, { allow });
}

/** Wraps a listener of the app, so that an error or rejection of it cannot change a decision. */
function catchListenerErrors<Arguments extends readonly unknown[]>(
  listener: (...args: Arguments) => unknown,
  onFailure: (error: unknown) => void = (error) => printError(error, "onError"),
): (...args: Arguments) => void {
  return (...args) => {
    try {
      Promise.resolve(listener(...args)).catch(onFailure);
    } catch (error) {
      onFailure(error);
    }
  };
}
