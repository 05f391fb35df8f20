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
import { type Gateway, type GatewayRegistration, Gateways } from "./auth/gateways.ts";
import { LimitSettings } from "./auth/limit-settings.ts";
import { LoopbackDenials } from "./auth/loopback-denials.ts";
import { MessageLimits } from "./auth/message-limits.ts";
import { MessagesInFlight } from "./auth/messages-in-flight.ts";
import { type OriginDecision, Origins } from "./auth/origins.ts";
import { RateLimits } from "./auth/rate-limits.ts";
import { Tokens } from "./auth/tokens.ts";
import type { GatewayDefinition } from "./aws/define-gateway.ts";
import { definedAs, definedGateways } from "./aws/defined-gateways.ts";
import type { ProvisioningServices } from "./aws/provisioning/services.ts";
import { parseConfig, type SallyportOptions, type UserDirectory } from "./config.ts";
import { Activity } from "./connections/activity.ts";
import { Connections } from "./connections/connections.ts";
import { Memberships } from "./connections/memberships.ts";
import { ConnectionOpener } from "./connections/open.ts";
import { UserConnections } from "./connections/user-connections.ts";
import type { Audience, Requirement } from "./delivery/audience.ts";
import { BoundedManagementApi } from "./delivery/bounded-api.ts";
import { Delivery } from "./delivery/delivery.ts";
import { HttpManagementApi, type ManagementApi } from "./delivery/management-api.ts";
import { sendingBounds } from "./delivery/options.ts";
import { printError } from "./error-output.ts";
import { ErrorReporter } from "./error-reporter.ts";
import { ConfigurationError, RefusedError, SallyportError } from "./errors.ts";
import { connect } from "./events/connect.ts";
import { ConnectionProbes } from "./events/connection-probes.ts";
import { disconnect } from "./events/disconnect.ts";
import { JOINS_AT_ONCE } from "./events/join.ts";
import { type Envelope, message } from "./events/message.ts";
import { OrphanedConnections } from "./events/orphaned-connections.ts";
import { PendingDisconnects } from "./events/pending-disconnects.ts";
import { issueToken } from "./events/token.ts";
import { formatValue, isPlainObject } from "./format-value.ts";
import { type Answer, type DenialResponse, refusalOf, refused, reply, succeeded } from "./http/response.ts";
import { booleanOption, numberOption, optionsOf, parseOptions } from "./options.ts";
import { DeclaredRules } from "./permissions/declared-rules.ts";
import { PermissionCatalog } from "./permissions/define.ts";
import { UserPermissions } from "./permissions/effective.ts";
import { type ChangeOptions, Grants } from "./permissions/grants.ts";
import { PermissionRows } from "./permissions/sync.ts";
import { decodeGatewayCall } from "./protocol/gateway-call.ts";
import { type HttpAnswer, type HttpCall, ownWebCall, webResponse } from "./protocol/http-call.ts";
import { ChangeLog } from "./revocation/change-log.ts";
import { ChangedSubjects } from "./revocation/changed-subjects.ts";
import { RevocationPoller } from "./revocation/poller.ts";
import { RevocationQueue } from "./revocation/queue.ts";
import { UnfinishedCloses } from "./revocation/unfinished-closes.ts";
import { RevocationWorker } from "./revocation/worker.ts";
import { closeTooSlow } from "./sending/close-too-slow.ts";
import { SendCapacity } from "./sending/send-capacity.ts";
import { SendOrder } from "./sending/send-order.ts";
import { createSender, givenRequirement } from "./sending/sender.ts";
import type { Services } from "./services.ts";
import { withStorageErrors } from "./storage/storage-errors.ts";
import { Channels } from "./views/channels.ts";
import type { Sender } from "./views/context.ts";
import { type MountedView, mountViews } from "./views/mount.ts";

/** Marks the object for the command line, which may have loaded another copy of this package. */
export const SALLYPORT = Symbol.for("sallyport");

/**
 * Makes the app's one Sallyport. Opens nothing: no port, no timer, no database before first use.
 *
 * @throws ConfigurationError with a sentence that says what to change
 */
export function createSallyport(options: SallyportOptions): Sallyport {
  return new Sallyport(options);
}

export class Sallyport {
  readonly [SALLYPORT] = true;
  /** From text to permission, and the list of all. */
  readonly permissions: PermissionCatalog;
  /** Changes of rights. */
  readonly access: Access;
  /** The app's directory of users, as it was given. */
  readonly users: UserDirectory;
  /** The gateways that were defined, and what they are provisioned with. */
  readonly provisioning: ProvisioningServices;
  readonly #options: SallyportOptions;
  readonly #services: Services;
  readonly #api: ManagementApi;
  readonly #worker: RevocationWorker;
  readonly #loop: RevocationPoller;
  readonly #healthCheck: HealthCheck;
  readonly #pendingDisconnects: PendingDisconnects;
  readonly #cleanup: BackgroundCleanup;
  /** Events that are being answered. */
  #answering = 0;
  readonly #tokenPath: string;
  /** Where a load balancer asks; undefined for nowhere. */
  readonly healthPath: string | undefined;

  constructor(options: SallyportOptions) {
    const config = parseConfig(options);
    this.#options = options;
    const { client, credentials, region } = config.apiGateway;
    this.#api = client ? new BoundedManagementApi(client) : new HttpManagementApi({ credentials, region });
    const { storage: database } = config;
    const errors = new ErrorReporter(guarded(config.onError ?? printError), (error) =>
      database.failure(error),
    );
    const onError = (error: unknown, where: string) => errors.report(error, where);
    const catalog = new PermissionCatalog(config.permissions);
    const channels = new Channels(config.channels, catalog);
    const views = mountViews(config.views, catalog, channels);
    const judges = [...views.keys(), ...channels.list().map(({ pattern }) => pattern)].sort();
    const changeLog = new ChangeLog(database);
    const revocations = new RevocationQueue(database, judges.join("\n"));
    const rights = new UserPermissions(database);
    const gateways = new Gateways(database);
    const onDecision = guarded(config.onDecision ?? developmentLog(), (error) =>
      onError(error, "onDecision"),
    );
    const decisionLog = new DecisionLog(database, config.decisionLog, { onDecision, onError });
    const tokens = new Tokens(database, config.token.expiresInSeconds, rights);
    const limits = new LimitSettings(config.limits, views);
    const connections = new Connections(database, rights);
    const userConnections = new UserConnections(database);
    const rateLimits = new RateLimits(database);
    const delivery = new Delivery(this.#api, sendingBounds(config.apiGateway), (recipient) =>
      closeTooSlow(this.#services, recipient),
    );
    const sends = new Set<Promise<unknown>>();
    this.#services = {
      database,
      permissions: catalog,
      gatewayAuthenticator: new GatewayAuthenticator(gateways, config.gatewayAuth),
      origins: new Origins(config.origins, config.allowMissingOrigin),
      limits,
      rateLimits,
      connectLimits: new ConnectLimits(database, limits, rateLimits),
      messageLimits: new MessageLimits(limits),
      messagesInFlight: new MessagesInFlight(config.limits),
      tokens,
      endedSessions: new EndedSessions(database, config.endedSessions, onError),
      userPermissions: rights,
      permissionRows: new PermissionRows(database, catalog),
      grants: new Grants(database),
      audit: new Audit(database),
      declaredRules: new DeclaredRules(database),
      decisionLog,
      revocations,
      changeLog,
      changedSubjects: new ChangedSubjects(),
      gateways,
      connections,
      userConnections,
      connectionProbes: new ConnectionProbes(this.#api, userConnections, connections),
      connectionOpener: new ConnectionOpener(database, rights, tokens, changeLog),
      orphanedConnections: new OrphanedConnections({ connections, delivery, sends, onError }),
      unfinishedCloses: new UnfinishedCloses({ connections, delivery, onError }),
      activity: new Activity(database, onError),
      memberships: new Memberships(database),
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
      keep: (decision) => {
        const reference = decisionLog.take(decision);
        config.telemetry?.decided({ ...decision, reference });
        return reference;
      },
      watch: () => {
        this.#cleanup.start();
        return this.#loop.start();
      },
      telemetry: config.telemetry,
      onError,
      errors,
    };
    this.#tokenPath = config.token.path;
    this.healthPath = config.healthPath;
    this.#worker = new RevocationWorker(this.#services);
    this.#loop = new RevocationPoller(this.#services, this.#worker);
    this.#healthCheck = new HealthCheck(database);
    this.#pendingDisconnects = new PendingDisconnects(this.#services);
    this.#cleanup = new BackgroundCleanup(this.#services);
    this.permissions = catalog;
    this.access = new Access(this.#services, this.#worker);
    this.users = config.users;
    const { audit } = this.#services;
    const definitions = definedGateways(config.gateways, views);
    this.provisioning = { definitions, gateways, database, audit, changeLog };
  }

  /** Paths of the mounted views. */
  get viewPaths(): readonly string[] {
    return [...this.#services.views.keys()];
  }

  /** Path of the endpoint that makes tokens. */
  get tokenPath(): string {
    return this.#tokenPath;
  }

  /** Returns the same app with other options, such as another database, for tests. The fields of `token` are merged. */
  with(options: Partial<SallyportOptions>): Sallyport {
    if (!isPlainObject(options)) {
      throw new ConfigurationError(
        `with(): the options must be a plain object, but received ${formatValue(options)}.`,
      );
    }
    const own = this.#options.token ?? {};
    const token = isPlainObject(options.token) ? { ...own, ...options.token } : (options.token ?? own);
    return new Sallyport({ ...this.#options, ...options, token });
  }

  /**
   * Answers a request that is ours: the token endpoint, or an event from one of our gateways.
   *
   * @returns undefined where the path is not ours
   */
  async fetch(request: Request): Promise<Response | undefined> {
    const call = ownWebCall(request);
    const answer = call && (await this.answer(call));
    return answer && webResponse(answer);
  }

  /**
   * The same without the web's `Request` and `Response`, which cost as much as the decision: what adapters call.
   *
   * @returns undefined where the path is not ours
   */
  async answer(http: HttpCall): Promise<HttpAnswer | undefined> {
    const pathname = http.path ?? http.url.pathname;
    if (pathname === this.#tokenPath) return this.#token(http, pathname);
    if (pathname === this.healthPath) return this.#health(http);
    const [, viewPath = "", route = ""] = /^(.*)\/([A-Za-z0-9_-]+)$/.exec(pathname) ?? [];
    const view = this.#services.views.get(viewPath);
    // Every event is a POST. Another method gets the answer of a path without a view, so that clients cannot probe for views.
    if (!view || http.method !== "POST") return undefined;
    this.start();
    this.#answering++;
    try {
      return await this.#observedEvent(view, pathname, route, http);
    } finally {
      this.#answering--;
    }
  }

  /**
   * The server speaking to an audience. Every recipient is judged at the moment of sending.
   *
   * @throws ConfigurationError for a channel that no definition matches
   */
  to(audience: Audience, ...requirement: readonly [requirement?: Requirement]): Sender {
    return createSender(this.#services, audience, givenRequirement(requirement));
  }

  /** Open sockets, a page at a time: of a user, at a view, in a channel. */
  listConnections(query: ConnectionQuery = {}): Promise<readonly ConnectionInfo[]> {
    return this.#ask(() => listConnections(this.#services, query));
  }

  /**
   * Whether this process can serve: it is not closed, and its database accepts a write within two seconds. The endpoint at `healthPath`
   * returns the same as 200 or 503, with a result that is at most one second old.
   */
  health(): Promise<Health> {
    return this.#healthCheck.check();
  }

  /** Draws the consequences of recorded changes for open sockets. @returns how many lost something */
  enforce(): Promise<number> {
    return this.#ask(() => this.#worker.enforce());
  }

  /** Enforces changes made elsewhere and removes old rows from now on. The first event starts it too, and {@link flush} pauses it. */
  start(): void {
    void this.#loop.start();
    this.#cleanup.start();
  }

  /** The gateway that was defined by that name, or the only one. @throws ConfigurationError where there is none */
  gatewayDefinition(name?: string): GatewayDefinition {
    return definedAs(this.provisioning.definitions, name);
  }

  /** Records a gateway, or replaces the one of that name. */
  registerGateway(registration: GatewayRegistration): Promise<Gateway> {
    return this.#ask(() => this.#services.gateways.register(registration));
  }

  /**
   * Closes the rows of every session of a gateway whose sockets cannot exist any more, such as those of a local
   * gateway that was started anew.
   *
   * @returns how many there were
   */
  async forgetSessions(gateway: Gateway): Promise<number> {
    return this.#ask(() => this.#services.connections.closeAllOf(gateway.id, "gateway started anew"));
  }

  /**
   * Brings the tables up to date, and the declared permissions and rules into them. Sockets that rest on a rule that
   * became stricter end. The rules recorded are those of this code alone.
   *
   * @param options who does it and why, for the audit
   */
  async migrate(options?: ChangeOptions): Promise<MigrationResult> {
    return this.#ask(() => migrate(this.#services, this.#worker, options));
  }

  /**
   * Removes rows that are no longer needed: closed connections, expired tokens, windows of limits that have ended, and old decisions.
   * Processes that serve events remove these rows themselves, so a call is optional. Only a call with `keepAuditDays` removes entries
   * of the audit log.
   *
   * @throws ConfigurationError for options that cannot be
   */
  cleanup(options: CleanupOptions = {}): Promise<CleanupResult> {
    return this.#ask(() => cleanup(this.#services, options));
  }

  /**
   * Brings to an end what goes on behind the answers so far: sends, evictions that are due, notes of activity and decisions. Afterwards nothing is under
   * way and no timer runs, until the next request: for a runtime that is frozen between them.
   *
   * @param options.withinMs how long it may take at most; what is not done by then goes on later, here or elsewhere. Default 5000
   * @param options.onlyDue leaves for later what was done a few seconds ago: the look for grants that have ended and for changes that other
   *   processes recorded (every 3 s), and the notes of activity (every 5 s). For a call after each event. Default false
   */
  async flush(options: SettleOptions = {}): Promise<void> {
    const { withinMs, onlyDue } = parseOptions("settle()", SETTLE_OPTIONS, options);
    await flush(this.#working, withinMs, onlyDue);
  }

  /** Ends sends under way, stops the loop, and closes what was opened here. */
  close(): Promise<void> {
    return close(this.#working);
  }

  #ask<Result>(work: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.database, work);
  }

  get #working(): RunningTasks {
    return {
      services: this.#services,
      api: this.#api,
      worker: this.#worker,
      loop: this.#loop,
      pendingDisconnects: this.#pendingDisconnects,
      cleanup: this.#cleanup,
      isAnswering: () => this.#answering > 0,
    };
  }

  /** Says no more than whether: anybody may ask. */
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
    const work = () => this.#issue(http, context, page);
    if (!telemetry) return work();
    return telemetry.event({ kind: "token", view: undefined }, work, ({ status }) => ({ status }));
  }

  async #issue(http: HttpCall, context: DecisionContext, page: OriginDecision): Promise<HttpAnswer> {
    const cors = corsHeaders(page);
    try {
      const token = await issueToken(this.#services, http, page, context);
      this.#sample(context);
      return reply(200, token, cors);
    } catch (error) {
      const { status, body, headers } = await this.#refusal(error, context);
      return reply(status, body, { ...headers, ...cors });
    }
  }

  #observedEvent(view: MountedView, path: string, route: string, http: HttpCall): Promise<HttpAnswer> {
    const kind = route === "connect" || route === "disconnect" ? route : "message";
    const context: DecisionContext = createDecisionContext(kind, path);
    context.view = view.path;
    const { telemetry } = this.#services;
    const envelope: Envelope = {};
    const work = () => this.#event(view, kind, http, context, envelope);
    if (!telemetry) return work();
    return telemetry.event({ kind, view: view.path }, work, ({ status }) => ({
      status: envelope.status ?? status,
      // Known to be one of ours once it has been admitted.
      handler: context.gateMs === undefined ? undefined : context.handler,
      gateMs: context.gateMs,
      connectionId: context.connectionId,
      requestId: context.requestId,
    }));
  }

  async #event(
    view: MountedView,
    kind: "connect" | "message" | "disconnect",
    http: HttpCall,
    context: DecisionContext,
    envelope: Envelope,
  ): Promise<HttpAnswer> {
    try {
      const call = decodeGatewayCall(kind, http);
      if (call.connectionId !== "") context.connectionId = call.connectionId.slice(0, 200);
      if (call.requestId !== undefined) context.requestId = call.requestId.slice(0, 200);
      let answer: Answer;
      try {
        answer = succeeded(await this.#decide(view, call, http, context, envelope), context);
        if (kind !== "disconnect") this.#sample(context);
      } catch (error) {
        const refusal = await this.#refusal(error, context);
        envelope.status = refusal.status;
        answer = refused(refusal, context);
      }
      if (kind === "message" && envelope.gateway?.replies === "push") {
        await this.#push(envelope.gateway, call.connectionId, answer, envelope, context);
        // Empty: where the gateway hands it over nevertheless, as while that is changed, no page takes it for a message.
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
    envelope: Envelope,
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
   * Where a gateway has no route responses, the answer goes out like any other message: it may have to wait for its turn, and
   * is judged again then.
   */
  async #push(
    gateway: Gateway,
    connectionId: string,
    answer: Answer,
    { recipient: session, stillPermitted }: Envelope,
    context: DecisionContext,
  ): Promise<void> {
    const recipient = {
      connectionKey: session?.id ?? "",
      userId: session?.userId ?? null,
      connectionId,
      endpoint: gateway.endpoint,
      connectedAt: 0,
    };
    // What a handler complains of may be for nobody without the right, too.
    const options = stillPermitted ? { stillPermitted } : {};
    const outcome = await this.#services.delivery.post(recipient, answer.body, options);
    if (outcome.kind === "withheld") {
      const late = new RefusedError("The right ended while the answer waited to be sent.", {
        reason: "permission",
      });
      const { body } = refused(await this.#refusal(late, context), context);
      await this.#services.delivery.post(recipient, body);
    } else if (outcome.kind === "failed") {
      this.#services.onError(new Error(outcome.reason), `answering ${connectionId}`);
    }
  }

  /** Keeps some of what was allowed, with its reasons. */
  #sample(context: DecisionContext): void {
    if (this.#services.decisionLog.isSampled()) this.#services.keep(allowed(context, newReference()));
  }

  /** The one place where an error becomes an answer. A refusal is kept before the peer hears its reference. */
  async #refusal(error: unknown, context: DecisionContext): Promise<DenialResponse> {
    const known = refusalOf(this.#services.database.failure(error));
    if (known instanceof RefusedError) {
      const reference = this.#services.keep(denied(context, known, newReference()));
      await this.#services.decisionLog.flush();
      const headers: Record<string, string> =
        known.retryAfterSeconds === undefined ? {} : { "retry-after": String(known.retryAfterSeconds) };
      return { status: known.status, body: { ok: false, error: known.reply, reference }, headers };
    }
    const reference = newReference();
    const handler = context.handler === undefined ? "" : ` handler ${context.handler}`;
    this.#services.onError(known, `${context.path}${handler} (reference ${reference})`);
    const [status, words] =
      known instanceof SallyportError ? [known.status, known.reply] : [500, "Internal error."];
    return { status, body: { ok: false, error: words, reference }, headers: {} };
  }
}

/** The headers that let a page of an allowed origin read the answer of the token endpoint. */
function corsHeaders({ origin, isAllowed }: OriginDecision): Record<string, string> {
  if (origin === undefined || !isAllowed) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-credentials": "true",
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "content-type, x-csrftoken",
    // Not among the response headers that a page on another origin can read. Source: Fetch, "CORS-safelisted response-header name".
    "access-control-expose-headers": "retry-after",
    vary: "Origin",
  };
}

/** What receives decisions if the app has no `onDecision`. */
function developmentLog(): (decision: Decision) => void {
  if (process.env.NODE_ENV === "production") return () => undefined;
  const denials = new LoopbackDenials();
  return (decision) => denials.print(decision);
}

interface SettleOptions {
  readonly withinMs?: number | undefined;
  readonly onlyDue?: boolean | undefined;
}

const SETTLE_OPTIONS = optionsOf<SettleOptions>()({
  withinMs: v.optional(numberOption(0, 2 ** 31 - 1, "a number of milliseconds of at least 0"), 5000),
  onlyDue: v.optional(booleanOption, false),
});

function methodNotAllowed(allow: string): HttpAnswer {
  return reply(405, { ok: false, error: "Method not allowed." }, { allow });
}

/** Calls an app's listener; what it throws, at once or later, must not change what was decided. */
function guarded<Arguments extends readonly unknown[]>(
  listener: (...args: Arguments) => unknown,
  failed: (error: unknown) => void = (error) => printError(error, "onError"),
): (...args: Arguments) => void {
  return (...args) => {
    try {
      Promise.resolve(listener(...args)).catch(failed);
    } catch (error) {
      failed(error);
    }
  };
}
