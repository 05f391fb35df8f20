import { ConfigurationError } from "../errors.ts";
import { refuseUnknown } from "../options.ts";
import { API_KEY_SELECTION_EXPRESSIONS, type ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
import { INTEGRATION_TIMEOUT_MS, MIN_INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";
import { shown } from "../shown.ts";
import { check, isText } from "./checks.ts";
import {
  type AccessLogOptions,
  checkedAccount,
  checkedDomains,
  checkedLog,
  checkedTags,
  checkedThrottling,
  type DomainOptions,
  type ThrottlingOptions,
} from "./definition-parts.ts";
import { checkedRoutes, checkedTarget, type OwnTarget, type Target } from "./targets.ts";

/** What a team writes of a WebSocket API at AWS. */
export interface GatewayOptions {
  /**
   * Our name for it, by which its API is found at AWS (tag `sallyport:gateway`) and in the database: 1 to 128 letters, digits, spaces,
   * `_` or `-`.
   */
  readonly name: string;
  /** Such as `eu-west-1`. */
  readonly region: string;
  /** Default `production`: 1 to 128 letters, digits, `_` or `-`. */
  readonly stage?: string;
  /**
   * Where `$connect`, `$disconnect` and `$default` go: the URL of a view, such as `https://www.example.com/ws/chat`, to which `/connect`,
   * `/disconnect` and `/default` are added; or a Lambda function.
   */
  readonly target: OwnTarget;
  /**
   * Where messages of further routes go, by route key: a URL as it is, such as `https://www.example.com/ws/moderation/moderate`, whose path but
   * for its last part is the other view's; a Lambda function; or `{ service: "https://billing.example.com/ws/billing/default" }`, whose views are
   * another deployment's. Default: none.
   */
  readonly routes?: Readonly<Record<string, Target>>;
  /** What selects the route of a message. Default `$request.body.action`. */
  readonly routeSelectionExpression?: string;
  /**
   * A domain of your own, or several, of which the first is what `status` tells. Default: that of API Gateway, to which no browser sends your
   * cookies.
   */
  readonly domain?: DomainOptions | readonly DomainOptions[];
  /** Whether the API is reached by your own domain only. It takes a `domain`. Default false. */
  readonly disableExecuteApiEndpoint?: boolean;
  /** Tags of the API and its stage, beside our own. At most 48. Default: none. */
  readonly tags?: Readonly<Record<string, string>>;
  /** What the stage takes of connects and messages, each route for itself. Default: the account's quota. */
  readonly throttling?: ThrottlingOptions;
  /** A line in a log for every connect, message and disconnect. Default: none. */
  readonly accessLog?: AccessLogOptions;
  /** What API Gateway takes a client's API key from, on routes that you let need one. Default `$request.header.x-api-key`. */
  readonly apiKeySelectionExpression?: ApiKeySelectionExpression;
  /**
   * The account that the API is in, 12 digits, which the permission of a function names. Default: that of a certificate or log, or of the
   * functions.
   */
  readonly account?: string;
  /** What people read at AWS, up to 1024 characters. Default: none. */
  readonly description?: string;
  /** Longest time for an answer, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
  /** How answers to messages reach the socket: as the route's response, or pushed. Default `route`. */
  readonly replies?: "route" | "push";
}

/** A gateway as it is wanted, checked and complete. */
export interface GatewayDefinition {
  readonly name: string;
  readonly region: string;
  readonly stage: string;
  readonly target: OwnTarget;
  readonly routes: ReadonlyMap<string, Target>;
  readonly routeSelectionExpression: string;
  /** The first is the one that is told. */
  readonly domains: readonly DomainOptions[];
  readonly disableExecuteApiEndpoint: boolean;
  readonly tags: Readonly<Record<string, string>>;
  readonly throttling: ThrottlingOptions | undefined;
  readonly accessLog: Required<AccessLogOptions> | undefined;
  readonly apiKeySelectionExpression: ApiKeySelectionExpression;
  /** Undefined where nothing names it, and nothing has to. */
  readonly account: string | undefined;
  readonly description: string;
  readonly timeoutMs: number;
  readonly replies: "route" | "push";
}

const OPTIONS = new Set<string>([
  "name",
  "region",
  "stage",
  "target",
  "routes",
  "routeSelectionExpression",
  "domain",
  "disableExecuteApiEndpoint",
  "tags",
  "throttling",
  "accessLog",
  "apiKeySelectionExpression",
  "account",
  "description",
  "timeoutMs",
  "replies",
] satisfies (keyof GatewayOptions)[]);
/**
 * A WebSocket API at AWS as you want it, for `sallyport gateway plan` and `apply`. It makes no call.
 *
 * @throws ConfigurationError for whatever AWS would refuse, with a sentence that says what to change
 */
export function defineGateway(options: GatewayOptions): GatewayDefinition {
  if (typeof options !== "object" || options === null) {
    throw new ConfigurationError(
      `defineGateway() takes options such as { name, region, target }, not ${shown(options)}.`,
    );
  }
  refuseUnknown("defineGateway()", options, OPTIONS);
  const { name, stage = "production", region } = options;
  const where = `Gateway "${name}"`;
  check(
    where,
    isText(name, /^(?=.*\S)[A-Za-z0-9 _-]{1,128}$/),
    `name is 1 to 128 letters, digits, spaces, _ or -`,
  );
  check(
    where,
    isText(region, /^[a-z]{2,4}(-[a-z]+)+-\d$/),
    `region is one of AWS's, such as eu-west-1, not ${shown(region)}`,
  );
  check(
    where,
    isText(stage, /^[A-Za-z0-9_-]{1,128}$/),
    `stage is 1 to 128 letters, digits, _ or -, not ${shown(stage)}`,
  );
  const { routeSelectionExpression = "$request.body.action" } = options;
  check(
    where,
    isText(routeSelectionExpression, /^.{1,512}$/),
    "routeSelectionExpression is text such as $request.body.action",
  );
  const { description = "", timeoutMs = INTEGRATION_TIMEOUT_MS, replies = "route" } = options;
  check(
    where,
    isText(description, /^/) && description.length <= 1024,
    "description is text of up to 1024 characters",
  );
  check(
    where,
    Number.isInteger(timeoutMs) &&
      timeoutMs >= MIN_INTEGRATION_TIMEOUT_MS &&
      timeoutMs <= INTEGRATION_TIMEOUT_MS,
    `timeoutMs is a whole number from ${MIN_INTEGRATION_TIMEOUT_MS} to ${INTEGRATION_TIMEOUT_MS}, not ${shown(timeoutMs)}`,
  );
  check(
    where,
    replies === "route" || replies === "push",
    `replies is "route" or "push", not ${shown(replies)}`,
  );
  const { apiKeySelectionExpression = "$request.header.x-api-key" } = options;
  check(
    where,
    API_KEY_SELECTION_EXPRESSIONS.includes(apiKeySelectionExpression),
    `apiKeySelectionExpression is one of ${API_KEY_SELECTION_EXPRESSIONS.join(", ")}, not ${shown(apiKeySelectionExpression)}`,
  );
  const { disableExecuteApiEndpoint = false } = options;
  const domains = checkedDomains(where, options.domain ?? [], region);
  check(
    where,
    typeof disableExecuteApiEndpoint === "boolean",
    `disableExecuteApiEndpoint is true or false, not ${shown(disableExecuteApiEndpoint)}`,
  );
  check(
    where,
    !disableExecuteApiEndpoint || domains.length > 0,
    "disableExecuteApiEndpoint leaves nothing to connect to without a domain",
  );
  const target = checkedTarget(where, "target", options.target, region);
  check(
    where,
    typeof target === "string" || "lambda" in target,
    "target is of this app: only routes lead to other services",
  );
  const routes = checkedRoutes(where, options.routes ?? {}, region);
  const accessLog = options.accessLog && checkedLog(where, options.accessLog, region);
  const definition: GatewayDefinition = Object.freeze({
    name,
    region,
    stage,
    target,
    routes,
    routeSelectionExpression,
    domains,
    disableExecuteApiEndpoint,
    tags: checkedTags(where, options.tags ?? {}),
    throttling: options.throttling && checkedThrottling(where, options.throttling),
    accessLog,
    apiKeySelectionExpression,
    account: checkedAccount(where, options.account, { target, routes, domains, accessLog }),
    description,
    timeoutMs,
    replies,
  });
  KNOWN.add(definition);
  return definition;
}

/** Those that were checked here. */
const KNOWN = new WeakSet<GatewayDefinition>();

/** Whether a definition was made by `defineGateway`. */
export function isDefined(definition: GatewayDefinition): boolean {
  return KNOWN.has(definition);
}
