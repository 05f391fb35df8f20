import * as v from "valibot";
import { Access } from "./admin/access.ts";
import { BackgroundCleanup } from "./admin/background-cleanup.ts";
import { type CleanupOptions, type CleanupResult, cleanup } from "./admin/cleanup.ts";
import { type ConnectionInfo, type ConnectionQuery, listConnections } from "./admin/connections.ts";
import { type Health, HealthCheck } from "./admin/health.ts";
import { AccessImport } from "./admin/import.ts";
import { Inspection } from "./admin/inspection.ts";
import { type MigrationResult, migrate } from "./admin/migrate.ts";
import { close, flush, type RunningTasks } from "./admin/shutdown.ts";
import { type GatewayRegistration, Gateways } from "./auth/gateways.ts";
import type { GatewayDefinition } from "./aws/define-gateway.ts";
import { definedGateways, getDefinition, viewsWithoutGateway } from "./aws/defined-gateways.ts";
import type { ProvisioningServices } from "./aws/provisioning/services.ts";
import { changedOptions, parseConfig, type SallyportOptions, type UserDirectory } from "./config.ts";
import {
  createAuth,
  createConnections,
  createDefinitions,
  createLimits,
  createReports,
  ruleOwners,
} from "./create-services.ts";
import type { Audience, Requirement } from "./delivery/audience.ts";
import { BoundedManagementApi } from "./delivery/bounded-api.ts";
import { Delivery } from "./delivery/delivery.ts";
import { HttpManagementApi, type ManagementApi } from "./delivery/management-api.ts";
import { sendingBounds } from "./delivery/options.ts";
import { ConfigurationError } from "./errors.ts";
import { PendingDisconnects } from "./events/pending-disconnects.ts";
import { Router } from "./http/router.ts";
import { INTERNAL } from "./internal.ts";
import { booleanOption, numberOption, optionsOf, parseOptions } from "./options.ts";
import type { PermissionCatalog } from "./permissions/define.ts";
import type { ChangeOptions } from "./permissions/grants.ts";
import { type HttpRequest, type HttpResponse, ownWebCall, webResponse } from "./protocol/http.ts";
import { ChangedSubjects } from "./revocation/changed-subjects.ts";
import { RevocationPoller } from "./revocation/poller.ts";
import { RevocationQueue } from "./revocation/queue.ts";
import { UnfinishedCloses } from "./revocation/unfinished-closes.ts";
import { RevocationWorker } from "./revocation/worker.ts";
import { closeTooSlow, createSender, requirementOf } from "./sending/sender.ts";
import { Sends } from "./sending/sends.ts";
import type { AdminServices, EventServices, SendingServices } from "./services.ts";
import { afterCommit, withStorageErrors } from "./storage/storage-errors.ts";
import type { Storage } from "./storage/store.ts";
import type { Gateway } from "./storage/stores/gateways.ts";
import type { Sender } from "./views/context.ts";

/** The members of a Sallyport object that adapters, the command line and tests use. */
export interface Internals {
  /** The defined gateways, and the services that provision them. */
  readonly provisioning: ProvisioningServices;
  /** Adds users, groups and grants of another database. */
  readonly imports: AccessImport;
  /** What `sallyport doctor` reads. */
  readonly inspection: Inspection;
  /**
   * Handles a request like `fetch`, without web `Request` and `Response` objects. Those cost as much
   * processor time as the decision about an event.
   *
   * @returns `undefined` if the path is not Sallyport's
   */
  answer(http: HttpRequest): Promise<HttpResponse | undefined>;
  /**
   * Starts the background jobs: the revocation poller, and the removal of old rows. The first event
   * starts them too. `flush()` pauses them until the next event.
   */
  start(): void;
  /**
   * Returns a new Sallyport object with some options replaced, for example another database in
   * tests.
   *
   * @param options the options to replace. The fields of `token` are merged with the current ones
   * @throws ConfigurationError if an option is invalid
   */
  with(options: Partial<SallyportOptions>): Sallyport;
}

/**
 * Creates the Sallyport object of an app. Create one per app and process.
 *
 * The call opens no port and starts no timer. The database connection opens on first use.
 *
 * @param options what to mount and where to store it. `docs/reference/options.md` lists every option
 * @throws ConfigurationError if an option is invalid. The message names the option to change
 */
export function createSallyport(options: SallyportOptions): Sallyport {
  try {
    return new Sallyport(options);
  } catch (error) {
    // The frames inside of Sallyport would hide the call in the app.
    if (error instanceof ConfigurationError) Error.captureStackTrace?.(error, createSallyport);
    throw error;
  }
}

/** The main object of an app. {@link createSallyport} creates it. */
export class Sallyport {
  readonly [INTERNAL]: Internals;
  /** The declared permissions: finds one by its name, and lists all of them. */
  readonly permissions: PermissionCatalog;
  /** Reads and changes users, groups and grants, and explains decisions. */
  readonly access: Access;
  /** The `users` option of the app, which resolves user names on the command line. */
  readonly users: UserDirectory;
  readonly #storage: Storage;
  readonly #services: EventServices;
  readonly #adminServices: AdminServices;
  readonly #router: Router;
  readonly #api: ManagementApi;
  readonly #worker: RevocationWorker;
  readonly #poller: RevocationPoller;
  readonly #healthCheck: HealthCheck;
  readonly #pendingDisconnects: PendingDisconnects;
  readonly #cleanup: BackgroundCleanup;
  readonly #gatewayDefinitions: ReadonlyMap<string, GatewayDefinition>;
  /** Path of the endpoint that issues tokens. */
  readonly tokenPath: string;
  /** Path of the health-check endpoint for a load balancer. `undefined` if it is disabled. */
  readonly healthPath: string | undefined;

  constructor(options: SallyportOptions) {
    const config = parseConfig(options);
    const { storage } = config;
    const { store } = storage;
    const { client, credentials, region } = config.apiGateway;
    this.#storage = storage;
    this.#api = client ? new BoundedManagementApi(client) : new HttpManagementApi({ credentials, region });
    let isServing = false;
    const reports = createReports(config, () => isServing);
    const definitions = createDefinitions(config);
    const start = () => {
      this.#cleanup.start();
      return this.#poller.start();
    };
    const serve = () => {
      isServing = true;
      void start();
    };
    const changedSubjects = new ChangedSubjects(start);
    const core = { store, definitions, reports, changedSubjects };
    const gateways = new Gateways(store);
    const delivery = new Delivery(this.#api, sendingBounds(config.apiGateway), (recipient) =>
      closeTooSlow(sending, recipient),
    );
    const { onError } = reports;
    const unfinishedCloses = new UnfinishedCloses({ connections: store.connections, delivery, onError });
    const sends = new Sends(config.apiGateway.maxQueuedBytes);
    const reaching = { ...core, gateways, delivery, unfinishedCloses };
    const sending: SendingServices = { ...reaching, sends };
    const limits = createLimits(config, store, definitions);
    const revocations = new RevocationQueue(store.revocations, ruleOwners(definitions));
    this.#adminServices = { ...core, gateways, delivery, revocations, limits };
    const auth = createAuth(config, store, gateways, onError);
    const connections = createConnections(this.#api, store, sending);
    this.#services = { ...core, auth, limits, sending, connections };
    const sweep = async () => {
      await reports.decisionLog.sweep();
      await auth.endedSessions.sweep();
    };
    const periodicWork = async () => {
      await reports.decisionLog.flushWithCountsWhenDue();
      await sweep();
      await connections.activity.writeWhenDue();
    };
    const revoking = { ...reaching, revocations };
    this.#worker = new RevocationWorker(revoking, sweep);
    this.#poller = new RevocationPoller(revoking, this.#worker, { storage, periodicWork });
    this.#cleanup = new BackgroundCleanup({ store, onError });
    this.#healthCheck = new HealthCheck(storage);
    this.#pendingDisconnects = new PendingDisconnects(this.#services);
    this.tokenPath = config.token.path;
    this.healthPath = config.healthPath;
    this.permissions = definitions.permissions;
    this.access = new Access(this.#adminServices, this.#worker);
    this.users = config.users;
    this.#gatewayDefinitions = definedGateways(config.gateways, definitions.views);
    const unservedViews = viewsWithoutGateway(this.#gatewayDefinitions, this.viewPaths);
    this.#router = new Router({
      services: this.#services,
      health: this.#healthCheck,
      pendingDisconnects: this.#pendingDisconnects,
      tokenPath: this.tokenPath,
      healthPath: this.healthPath,
      start: serve,
    });
    this[INTERNAL] = {
      provisioning: { definitions: this.#gatewayDefinitions, unservedViews, gateways, store },
      imports: new AccessImport(this.#adminServices, this.#worker),
      inspection: new Inspection(config, { admin: this.#adminServices, auth, storage, api: this.#api }),
      answer: (http) => this.#router.handle(http),
      start: serve,
      with: (changes) => new Sallyport(changedOptions(options, changes)),
    };
  }

  /** Paths of the mounted views. */
  get viewPaths(): readonly string[] {
    return [...this.#services.definitions.views.keys()];
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
    const answer = call && (await this.#router.handle(call));
    return answer && webResponse(answer);
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
    return createSender(this.#services.sending, audience, requirementOf(requirement));
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
    return this.#withStorageErrors(() => listConnections(this.#adminServices, query));
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
   * removes the others from channels that they lost access to.
   *
   * Processes that serve events do this themselves. Call it on a schedule if no process runs all
   * the time.
   *
   * @returns the number of connections that lost access to a view or a channel
   * @throws StorageError if the database fails
   */
  enforce(): Promise<number> {
    return this.#withStorageErrors(async () => {
      const lost = await this.#worker.enforce();
      await this.#worker.idle();
      return lost;
    });
  }

  /**
   * Returns a gateway of the `gateways` option.
   *
   * @param name name of the gateway. Default: the only gateway of the app
   * @throws ConfigurationError if no gateway has that name, or if `name` is missing and the app has
   *   several
   */
  gatewayDefinition(name?: string): GatewayDefinition {
    return getDefinition(this.#gatewayDefinitions, name);
  }

  /**
   * Stores a gateway, or replaces the gateway with the same name. Its open connections remain.
   *
   * @throws ConfigurationError if the registration is invalid
   * @throws StorageError if the database fails
   */
  registerGateway(registration: GatewayRegistration): Promise<Gateway> {
    return this.#withStorageErrors(async () => {
      const gateway = await this.#services.auth.gateways.register(registration);
      if (!registration.hasRestarted) return gateway;
      const committed = {
        change: `The registration of gateway "${gateway.name}"`,
        next: "The connections that its restart ended are still open in the database. Register it again.",
      };
      const { connections } = this.#services.store;
      await afterCommit(this.#services.store, committed, () =>
        connections.closeAllOf(gateway.id, "gateway restarted"),
      );
      return gateway;
    });
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
    return this.#withStorageErrors(() => migrate(this.#storage, this.#adminServices, this.#worker, options));
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
    return this.#withStorageErrors(() =>
      cleanup(this.#adminServices, this.#services.auth.endedSessions, options),
    );
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
    return withStorageErrors(this.#services.store, work);
  }

  get #runningTasks(): RunningTasks {
    return {
      services: this.#services,
      storage: this.#storage,
      api: this.#api,
      worker: this.#worker,
      poller: this.#poller,
      pendingDisconnects: this.#pendingDisconnects,
      cleanup: this.#cleanup,
      isAnswering: () => this.#router.isAnswering,
    };
  }
}

interface FlushOptions {
  readonly withinMs?: number | undefined;
  readonly onlyDue?: boolean | undefined;
}

const FLUSH_OPTIONS = optionsOf<FlushOptions>()({
  withinMs: v.optional(numberOption(0, 2 ** 31 - 1, "a number of milliseconds of at least 0"), 5000),
  onlyDue: v.optional(booleanOption, false),
});
