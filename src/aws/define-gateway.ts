import * as v from "valibot";
import {
  booleanOption,
  choiceOption,
  optionsOf,
  parseOptions,
  textOption,
  wholeNumberOption,
} from "../options.ts";
import { API_KEY_SELECTION_EXPRESSIONS, type ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
import { INTEGRATION_TIMEOUT_MS, MIN_INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";
import { check } from "./checks.ts";
import {
  type AccessLogOptions,
  accessLogSchema,
  accountOfGateway,
  checkDomains,
  checkLog,
  type DomainOptions,
  domainsSchema,
  sorted,
  type ThrottlingOptions,
  tagsSchema,
  throttlingSchema,
} from "./definition-parts.ts";
import {
  checkRoutes,
  checkTarget,
  type OwnTarget,
  routesSchema,
  type Target,
  targetSchema,
} from "./targets.ts";

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

const REGION = /^[a-z]{2,4}(-[a-z]+)+-\d$/;

/** The form of each option. What must agree with another option is checked afterwards. */
const GATEWAY_OPTIONS = optionsOf<GatewayOptions>()({
  name: textOption(/^(?=.*\S)[A-Za-z0-9 _-]{1,128}$/, "1 to 128 letters, digits, spaces, _ or -"),
  region: textOption(REGION, "an AWS region such as eu-west-1"),
  stage: v.optional(textOption(/^[A-Za-z0-9_-]{1,128}$/, "1 to 128 letters, digits, _ or -"), "production"),
  target: targetSchema as v.GenericSchema<OwnTarget>,
  routes: v.optional(routesSchema, {}),
  routeSelectionExpression: v.optional(
    textOption(/^.{1,512}$/, "a string such as $request.body.action"),
    "$request.body.action",
  ),
  domain: v.optional(domainsSchema, []),
  disableExecuteApiEndpoint: v.optional(booleanOption, false),
  tags: v.optional(tagsSchema, {}),
  throttling: v.optional(throttlingSchema),
  accessLog: v.optional(accessLogSchema),
  apiKeySelectionExpression: v.optional(
    choiceOption(...API_KEY_SELECTION_EXPRESSIONS),
    "$request.header.x-api-key",
  ),
  account: v.optional(textOption(/^\d{12}$/, "the 12 digits of an AWS account as a string")),
  description: v.optional(textOption(/^.{0,1024}$/s, "a string of at most 1024 characters"), ""),
  timeoutMs: v.optional(
    wholeNumberOption(MIN_INTEGRATION_TIMEOUT_MS, INTEGRATION_TIMEOUT_MS, "milliseconds"),
    INTEGRATION_TIMEOUT_MS,
  ),
  replies: v.optional(choiceOption("route", "push"), "route"),
});

/**
 * Defines a WebSocket API at AWS, for `sallyport gateway plan` and `apply`. It makes no call.
 *
 * @throws ConfigurationError for everything that AWS would reject, with what to change
 */
export function defineGateway(options: GatewayOptions): GatewayDefinition {
  const given: unknown = (options as Partial<GatewayOptions> | null | undefined)?.name;
  const where = typeof given === "string" ? `Gateway "${given}"` : "defineGateway()";
  const checked = parseOptions(where, GATEWAY_OPTIONS, options);
  const { name, region, stage, routeSelectionExpression, description, timeoutMs, replies } = checked;
  const { apiKeySelectionExpression, disableExecuteApiEndpoint } = checked;
  const domains = checkDomains(where, checked.domain, region);
  check(
    where,
    !disableExecuteApiEndpoint || domains.length > 0,
    "disableExecuteApiEndpoint without a domain leaves no address to connect to. Add a domain, or remove it",
  );
  const target = checkTarget(where, "target", checked.target, region);
  check(
    where,
    typeof target === "string" || "lambda" in target,
    "target must belong to this app: only routes can lead to other services",
  );
  const routes = checkRoutes(where, checked.routes, region);
  const accessLog = checked.accessLog && checkLog(where, checked.accessLog, region);
  const definition: GatewayDefinition = Object.freeze({
    name,
    region,
    stage,
    target,
    routes,
    routeSelectionExpression,
    domains,
    disableExecuteApiEndpoint,
    tags: Object.freeze(sorted(checked.tags)),
    throttling: checked.throttling && Object.freeze(checked.throttling),
    accessLog,
    apiKeySelectionExpression,
    account: accountOfGateway(where, checked.account, { target, routes, domains, accessLog }),
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
