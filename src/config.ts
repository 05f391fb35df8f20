import * as v from "valibot";
import type { Decision } from "./audit/decision.ts";
import { type DecisionLogOptions, decisionLogSchema } from "./audit/decision-log.ts";
import type { Telemetry } from "./audit/events.ts";
import { defaultFormat, type LogFormat } from "./audit/log-lines.ts";
import { type EndedSessionsOptions, endedSessionsSchema } from "./auth/ended-sessions.ts";
import { type Limits, limitsSchema } from "./auth/limits.ts";
import { type OriginCheck, originSchema } from "./auth/origins.ts";
import { type GatewayDefinition, isDefined } from "./aws/define-gateway.ts";
import { type ApiGatewayOptions, apiGatewaySchema } from "./delivery/options.ts";
import type { ErrorListener } from "./error-reporter.ts";
import { ConfigurationError } from "./errors.ts";
import { formatValue, isPlainObject } from "./format-value.ts";
import {
  booleanOption,
  choiceOption,
  functionOption,
  numberOption,
  objectWith,
  optionsOf,
  parseOptions,
  wholeNumberOption,
} from "./options.ts";
import type { AnyPermissionSet } from "./permissions/define.ts";
import { isPath } from "./protocol/path.ts";
import type { Authenticate } from "./services.ts";
import type { Storage } from "./storage/store.ts";
import { type ChannelDefinition, isChannelDefinition } from "./views/channel.ts";
import type { ViewClass } from "./views/view.ts";

/**
 * Resolves the user names that an operator types on the command line, and formats user ids for
 * people.
 */
export interface UserDirectory {
  /**
   * Returns the app's id of a user for what an operator typed, such as an e-mail address, or
   * undefined.
   */
  find?(text: string): string | undefined | Promise<string | undefined>;
  /** Returns a readable name for each id, such as an e-mail address. */
  describe?(
    ids: readonly string[],
  ): Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;
  /**
   * Returns texts that `find` accepts. The closest match is suggested if `find` returns undefined.
   */
  suggest?(): readonly string[] | Promise<readonly string[]>;
}

/** How clients obtain and use the single-use tokens that they connect with. */
export interface TokenOptions {
  /** Path of the token endpoint. Default "/api/ws-token". */
  readonly path?: string | undefined;
  /** How long a token can be used, in seconds, from 1 to 3600. Default 60. */
  readonly expiresInSeconds?: number | undefined;
  /**
   * What identifies the user of a `$connect` request. `"session"`: the request must belong to the
   * session that requested the token. `"token"`: the token alone identifies the user. Use `"token"`
   * if the app's cookies do not reach `$connect`. Default "session".
   */
  readonly binding?: "session" | "token" | undefined;
}

/** The options of `createSallyport()`. */
export interface SallyportOptions {
  /**
   * The database to use, for example `sqlite("data/app.db")`. The connection opens on first use.
   */
  readonly storage: Storage;
  /** The permission sets that `definePermissions()` returned. */
  readonly permissions: readonly AnyPermissionSet[];
  /** The channels that `defineChannel()` returned. Default: none. */
  readonly channels?: readonly ChannelDefinition[] | undefined;
  /**
   * The view class for each path, for example `{ "/ws/chat": ChatView }`. API Gateway calls
   * `<path>/connect`, `<path>/disconnect`, `<path>/default`, or `<path>/` with the name of a route.
   */
  readonly views: Readonly<Record<string, ViewClass>>;
  /** The gateways that `defineGateway()` returned, for `sallyport gateway`. Default: none. */
  readonly gateways?: readonly GatewayDefinition[] | undefined;
  /** Returns the signed-in user and the session of a request, or null. */
  readonly authenticate: Authenticate;
  /** How the command line finds users. Default: by user id. */
  readonly users?: UserDirectory | undefined;
  /**
   * The origins of the pages that are allowed to connect, such as `"https://www.example.com"`, or
   * `"https://*.example.com"` for all subdomains. Alternatively, a function that returns true for
   * an allowed origin. Required unless `allowMissingOrigin` is true.
   */
  readonly origins?: readonly string[] | OriginCheck | undefined;
  /**
   * Whether to accept clients that send no Origin header, such as devices and servers. Browsers
   * always send one. Default false.
   */
  readonly allowMissingOrigin?: boolean | undefined;
  /** The single-use tokens that clients connect with. */
  readonly token?: TokenOptions | undefined;
  /**
   * Limits on events per minute, open connections and messages in flight. `false` turns a limit
   * off.
   */
  readonly limits?: Partial<Limits> | undefined;
  /**
   * How requests from the gateway are authenticated. `"secret"`: by the secret that the gateway
   * sends. `"none"`: every caller is trusted. Use `"none"` only if nothing but the gateway can
   * reach the backend. Default "secret".
   */
  readonly gatewayAuth?: "secret" | "none" | undefined;
  /**
   * The number of trusted proxies in front of API Gateway that add to X-Forwarded-For. Default 0.
   */
  readonly trustProxy?: number | undefined;
  /** How messages are sent through the management API of API Gateway. */
  readonly apiGateway?: ApiGatewayOptions | undefined;
  /** Which decisions are stored for `access.explain()`, and for how long. */
  readonly decisionLog?: DecisionLogOptions | undefined;
  /** How long sessions that were ended with `access.endSession()` remain denied. */
  readonly endedSessions?: EndedSessionsOptions | undefined;
  /**
   * Called with each denial, each revocation of an open connection, and each allowed event that is
   * stored. Frequent denials of the same kind are counted. Their number is passed once per second,
   * as `repeats` of the last denial. Default: prints denials to stderr.
   */
  readonly onDecision?: ((decision: Decision) => void) | undefined;
  /**
   * How denials and errors are printed without `onDecision` and `onError`: `"text"`, or `"json"` for
   * one object per line. Default: `"json"` if `NODE_ENV` is `production`, otherwise `"text"`.
   */
  readonly logFormat?: LogFormat | undefined;
  /** Traces and metrics: `openTelemetry()` of `sallyport/telemetry`. Default: none. */
  readonly telemetry?: Telemetry | undefined;
  /**
   * Path of the health-check endpoint for a load balancer, such as `/healthz`. Disabled by default.
   */
  readonly healthPath?: string | undefined;
  /**
   * Called with each error that is not returned to a caller, and the operation in which it
   * occurred. The first of several equal errors is passed immediately with `repeats` 0. The others
   * are counted. Their number is passed as `repeats` with the last error, once per second. Failures
   * of the database are passed once per minute. Default: prints to stderr.
   */
  readonly onError?: ErrorListener | undefined;
}

function pathOption(example: string) {
  const message = `must be a path that begins with / and does not end with it, such as "${example}"`;
  return v.pipe(v.string(message), v.check(isPath, message));
}

const TOKEN_OPTIONS = optionsOf<TokenOptions>()({
  path: v.optional(pathOption("/api/ws-token"), "/api/ws-token"),
  expiresInSeconds: v.optional(numberOption(1, 3600, "a number of seconds from 1 to 3600"), 60),
  binding: v.optional(choiceOption("session", "token"), "session"),
});

const DIRECTORY_METHODS = ["find", "describe", "suggest"] as const;

/**
 * An instance of a class may have other members. In a plain object, they are probably misspelled.
 */
const USER_DIRECTORY = v.pipe(
  objectWith<UserDirectory>([], "an object with the functions find, describe or suggest", DIRECTORY_METHODS),
  v.check(
    (directory) =>
      !isPlainObject(directory) ||
      Object.keys(directory).every((name) => DIRECTORY_METHODS.some((known) => known === name)),
    (issue) => {
      const unknown = Object.keys(issue.input).filter(
        (name) => !(DIRECTORY_METHODS as readonly string[]).includes(name),
      );
      return `has ${unknown.map((name) => `"${name}"`).join(", ")}, which is not an option. The options are: ${DIRECTORY_METHODS.join(", ")}.`;
    },
  ),
  v.check(
    (directory) =>
      isPlainObject(directory) || DIRECTORY_METHODS.some((name) => directory[name] !== undefined),
    "must be an object with the functions find, describe or suggest",
  ),
);

const STORAGE = v.custom<Storage>(
  (value) => {
    const { migrate, close, store } = (value ?? {}) as Partial<Storage>;
    return typeof migrate === "function" && typeof close === "function" && typeof store === "object";
  },
  // A connection string is not repeated in the message, because it may contain a password.
  ({ input }) =>
    `must be a database from sqlite() or postgres(), but received ${typeof input === "string" ? "a string" : formatValue(input)}. ` +
    'Write storage: sqlite("data/app.db") or storage: postgres(process.env.DATABASE_URL).',
);

const SALLYPORT_OPTIONS = optionsOf<SallyportOptions>()(
  {
    storage: STORAGE,
    permissions: v.array(
      v.custom<AnyPermissionSet>(
        (value) => typeof value === "object" && value !== null,
        "must be what definePermissions() returned",
      ),
      "must be an array of what definePermissions() returned",
    ),
    channels: v.optional(
      v.array(
        v.custom<ChannelDefinition>(isChannelDefinition, "must be what defineChannel() returned"),
        "must be an array of what defineChannel() returned",
      ),
      [],
    ),
    views: v.pipe(
      v.custom<Readonly<Record<string, ViewClass>>>(
        isPlainObject,
        "must be an object of paths and view classes",
      ),
      v.readonly(),
    ),
    gateways: v.optional(
      v.array(
        v.custom<GatewayDefinition>(
          (value) => isDefined(value as GatewayDefinition),
          "must be what defineGateway() returned",
        ),
        "must be an array of what defineGateway() returned",
      ),
      [],
    ),
    authenticate: functionOption<Authenticate>("that returns { userId, sessionId } for a request, or null"),
    users: v.optional(USER_DIRECTORY, {}),
    origins: v.optional(originSchema, []),
    allowMissingOrigin: v.optional(booleanOption, false),
    token: v.optional(TOKEN_OPTIONS, {}),
    limits: v.optional(limitsSchema, {}),
    gatewayAuth: v.optional(choiceOption("secret", "none"), "secret"),
    trustProxy: v.optional(wholeNumberOption(0, 100, "proxies"), 0),
    apiGateway: v.optional(apiGatewaySchema, {}),
    decisionLog: v.optional(decisionLogSchema, {}),
    endedSessions: v.optional(endedSessionsSchema, {}),
    onDecision: v.optional(functionOption<(decision: Decision) => void>()),
    logFormat: v.optional(choiceOption("text", "json"), defaultFormat),
    telemetry: v.optional(
      objectWith<Telemetry>(
        ["event", "send", "decided"],
        "what openTelemetry() returned, or an object with the functions event, send and decided",
      ),
    ),
    healthPath: v.optional(pathOption("/healthz")),
    onError: v.optional(functionOption<ErrorListener>()),
  },
  {
    identify: "Write authenticate: a function that returns { userId, sessionId } for a request, or null.",
    tokenPath: "Write token: { path }.",
    tokenExpirySeconds: "Write token: { expiresInSeconds }.",
    trust: 'Write gatewayAuth: "secret" or "none".',
    sourceIp: "Write trustProxy: the number of proxies in front of API Gateway.",
    delivery: "Write apiGateway.",
    managementApi: "Write apiGateway: { client }.",
  },
);

/** The validated options of `createSallyport()`, including defaults. */
export type SallyportConfig = v.InferOutput<typeof SALLYPORT_OPTIONS>;

/**
 * Validates the options of `createSallyport()` and adds their defaults.
 *
 * @throws ConfigurationError with the name of the option, its value and what to change
 */
export function parseConfig(options: SallyportOptions): SallyportConfig {
  const config = parseOptions("createSallyport()", SALLYPORT_OPTIONS, options);
  checkPath("token.path", config.token.path, config);
  checkPath("healthPath", config.healthPath, config);
  if (config.healthPath === config.token.path) {
    throw new ConfigurationError(
      `createSallyport(): healthPath and token.path are both ${config.token.path}, so the health check would not be reached. Change one of them.`,
    );
  }
  return config;
}

/** Throws if a path of Sallyport is also the path of an event. The event would not be reached. */
function checkPath(name: string, path: string | undefined, { views }: SallyportConfig): void {
  const [, view = ""] = /^(.*)\/[A-Za-z0-9_-]+$/.exec(path ?? "") ?? [];
  if (!Object.hasOwn(views, view)) return;
  throw new ConfigurationError(
    `createSallyport(): ${name} ${path} is below the view ${view}, so it would answer events of this view. Use a path that is not below a view.`,
  );
}

/** Returns the options with some of them replaced. The fields of `token` are merged. */
export function changedOptions(
  options: SallyportOptions,
  changes: Partial<SallyportOptions>,
): SallyportOptions {
  if (!isPlainObject(changes)) {
    throw new ConfigurationError(
      `with(): the options must be a plain object, but received ${formatValue(changes)}. ` +
        "Pass the options to replace, such as { storage }.",
    );
  }
  const own = options.token ?? {};
  const token = isPlainObject(changes.token) ? { ...own, ...changes.token } : (changes.token ?? own);
  return { ...options, ...changes, token };
}
