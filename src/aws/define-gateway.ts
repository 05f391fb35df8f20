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

/** The options of `defineGateway`, which describe a WebSocket API at AWS. */
export interface GatewayOptions {
  /**
   * The name of the gateway, 1 to 128 letters, digits, spaces, `_` or `-`. It identifies the API at
   * AWS, in the tag `sallyport:gateway`, and its record in the database.
   */
  readonly name: string;
  /** The AWS region, such as `eu-west-1`. */
  readonly region: string;
  /** The name of the stage, 1 to 128 letters, digits, `_` or `-`. Default `production`. */
  readonly stage?: string;
  /**
   * The target of `$connect`, `$disconnect` and `$default`: the URL of a view, or a Lambda
   * function.
   *
   * `/connect`, `/disconnect` and `/default` are appended to a URL such as
   * `https://www.example.com/ws/chat`.
   */
  readonly target: OwnTarget;
  /**
   * The targets of more routes, by route key, at most 297. Default: none.
   *
   * - A URL such as `https://www.example.com/ws/moderation/moderate` is used unchanged. Its path
   *   without the last segment must be the path of a view.
   * - A Lambda function, such as `{ lambda: "arn:…" }`.
   * - A view of another deployment, such as
   *   `{ service: "https://billing.example.com/ws/billing/default" }`.
   */
  readonly routes?: Readonly<Record<string, Target>>;
  /** The expression that selects the route of a message. Default `$request.body.action`. */
  readonly routeSelectionExpression?: string;
  /**
   * A custom domain, or a list of them. `status` prints the first one as the address. Default: the
   * domain of API Gateway, to which browsers do not send your cookies.
   */
  readonly domain?: DomainOptions | readonly DomainOptions[];
  /** Allows connections through `domain` only, so `domain` must be set. Default false. */
  readonly disableExecuteApiEndpoint?: boolean;
  /**
   * Tags of the API and its stage, in addition to those of Sallyport. At most 48. Default: none.
   */
  readonly tags?: Readonly<Record<string, string>>;
  /** The limits of connects and messages, for each route. Default: the quota of the account. */
  readonly throttling?: ThrottlingOptions;
  /** A log with a line for every connect, message and disconnect. Default: none. */
  readonly accessLog?: AccessLogOptions;
  /**
   * The source from which API Gateway reads the API key of a client. It applies to the routes that
   * you configured at AWS to require a key. Default `$request.header.x-api-key`.
   */
  readonly apiKeySelectionExpression?: ApiKeySelectionExpression;
  /**
   * The account of the API, 12 digits. The permission of a function contains it. Default: the
   * account of the certificate, of the access log or of the functions.
   */
  readonly account?: string;
  /** The description of the API at AWS, at most 1024 characters. Default: none. */
  readonly description?: string;
  /** The time limit of an integration, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
  /**
   * How answers to messages reach the client: as route responses (`route`), or through the
   * Management API (`push`). Default `route`.
   */
  readonly replies?: "route" | "push";
}

/** A gateway as it must exist at AWS: the checked options with all defaults. */
export interface GatewayDefinition {
  readonly name: string;
  readonly region: string;
  readonly stage: string;
  readonly target: OwnTarget;
  /** Targets by route key, sorted by key. */
  readonly routes: ReadonlyMap<string, Target>;
  readonly routeSelectionExpression: string;
  /** Custom domains. The address of the gateway is the first one. */
  readonly domains: readonly DomainOptions[];
  readonly disableExecuteApiEndpoint: boolean;
  /** Tags without those of Sallyport, sorted by key. */
  readonly tags: Readonly<Record<string, string>>;
  readonly throttling: ThrottlingOptions | undefined;
  readonly accessLog: Required<AccessLogOptions> | undefined;
  readonly apiKeySelectionExpression: ApiKeySelectionExpression;
  /**
   * The account of the API, 12 digits. Undefined if nothing names it and no permission needs it.
   */
  readonly account: string | undefined;
  /** The description of the API at AWS. Empty if there is none. */
  readonly description: string;
  /** The time limit of an integration, in milliseconds. */
  readonly timeoutMs: number;
  readonly replies: "route" | "push";
}

const REGION = /^[a-z]{2,4}(-[a-z]+)+-\d$/;

/** The schema of each option. Dependencies between options are checked afterwards. */
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
 * Defines a WebSocket API at AWS, for `sallyport gateway plan` and `apply`.
 *
 * It only checks the options, and does not call AWS. Pass the result to `createSallyport` in
 * `gateways`.
 *
 * @returns a frozen definition with all defaults
 * @throws ConfigurationError for options that AWS would reject, with what to change
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
    "disableExecuteApiEndpoint without a domain leaves no address to connect to. Add a domain, or remove the option",
  );
  const target = checkTarget(where, "target", checked.target, region);
  check(
    where,
    typeof target === "string" || "lambda" in target,
    "target must belong to this app, because only routes can call other services. Use the URL of a view or a Lambda function",
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
  DEFINED.add(definition);
  return definition;
}

/** The definitions that `defineGateway` checked and returned. */
const DEFINED = new WeakSet<GatewayDefinition>();

/** Returns whether a definition was created by `defineGateway`. */
export function isDefined(definition: GatewayDefinition): boolean {
  return DEFINED.has(definition);
}
