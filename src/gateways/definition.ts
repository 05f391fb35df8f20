import { ConfigurationError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { refuseUnknown } from "../options.ts";
import { API_KEY_SELECTION_EXPRESSIONS, type ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
import { INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";
import { shown } from "../shown.ts";
import { check, isRecord, isText } from "./checks.ts";
import {
  accountOf,
  checkedRoutes,
  checkedTarget,
  functionsOf,
  type OwnTarget,
  type Target,
  viewOf,
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

export interface DomainOptions {
  /** Such as `ws.example.com`. Its parent domain is where your cookies must be valid. */
  readonly name: string;
  /** Of a certificate for the name in AWS Certificate Manager, in the API's own region. */
  readonly certificateArn: string;
  /** The path below the name, such as `chat` for `wss://ws.example.com/chat`. Default: none. */
  readonly mappingKey?: string;
}

export interface ThrottlingOptions {
  /** Requests a second, above 0: with 0 every connect would get 429. */
  readonly ratePerSecond: number;
  /** Requests at once, a whole number from 1. */
  readonly burst: number;
}

export interface AccessLogOptions {
  /** ARN of a log group in CloudWatch, or of a Firehose stream whose name begins with `amazon-apigateway-`. */
  readonly destinationArn: string;
  /** What a line says; with `$context.requestId` in it. Default: JSON of what identifies an event and how it ended. */
  readonly format?: string;
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
const DOMAIN_OPTIONS = new Set<string>([
  "name",
  "certificateArn",
  "mappingKey",
] satisfies (keyof DomainOptions)[]);
const THROTTLING_OPTIONS = new Set<string>(["ratePerSecond", "burst"] satisfies (keyof ThrottlingOptions)[]);
const LOG_OPTIONS = new Set<string>(["destinationArn", "format"] satisfies (keyof AccessLogOptions)[]);

/** Tags that are ours begin so. */
export const TAG_PREFIX = "sallyport:";
/** The tag by which the API of a gateway is found again. */
export const GATEWAY_TAG = `${TAG_PREFIX}gateway`;
/** The tag by which it is known whose it is: the id of a database's record. */
export const RECORD_TAG = `${TAG_PREFIX}record`;

const LOG_FORMAT = JSON.stringify(
  Object.fromEntries(
    [
      "requestId",
      "requestTime",
      "eventType",
      "routeKey",
      "status",
      "connectionId",
      "identity.sourceIp",
      "integration.status",
      "integration.latency",
      "error.message",
    ].map((name) => [name, `$context.${name}`]),
  ),
);

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
  check(where, isText(name, /^[A-Za-z0-9 _-]{1,128}$/), `name is 1 to 128 letters, digits, spaces, _ or -`);
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
    Number.isInteger(timeoutMs) && timeoutMs >= 50 && timeoutMs <= INTEGRATION_TIMEOUT_MS,
    `timeoutMs is a whole number from 50 to ${INTEGRATION_TIMEOUT_MS}, not ${shown(timeoutMs)}`,
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

/**
 * The gateways of an app by name, each leading to views that are there.
 *
 * @throws ConfigurationError for two of one name, or a URL that leads nowhere or to a view that chooses otherwise
 */
export function definedGateways(
  definitions: readonly GatewayDefinition[],
  views: ReadonlyMap<string, TargetView>,
): ReadonlyMap<string, GatewayDefinition> {
  const byName = new Map<string, GatewayDefinition>();
  for (const definition of definitions) {
    if (!KNOWN.has(definition)) {
      throw new ConfigurationError("gateways: write each as defineGateway({ … }).");
    }
    if (byName.has(definition.name)) {
      throw new ConfigurationError(`gateways: two are called "${definition.name}". Give each its own name.`);
    }
    checkTargets(definition, views);
    byName.set(definition.name, definition);
  }
  return byName;
}

/** The gateway of a name, or the only one. @throws ConfigurationError that names the gateways there are */
export function definedAs(
  definitions: ReadonlyMap<string, GatewayDefinition>,
  name: string | undefined,
): GatewayDefinition {
  const [only, ...others] = definitions.values();
  if (!only) {
    throw new ConfigurationError(
      "The app defines no gateway. Write: createSallyport({ gateways: [defineGateway({ … })] })",
    );
  }
  const known = `There are: ${[...definitions.keys()].join(", ")}.`;
  if (name === undefined) {
    if (others.length === 0) return only;
    throw new ConfigurationError(`Which gateway? ${known}`);
  }
  const found = definitions.get(name);
  if (found) return found;
  throw new ConfigurationError(
    `The app defines no gateway "${name}".${nearest(name, definitions.keys())} ${known}`,
    "SALLYPORT_UNKNOWN_NAME",
  );
}

/** What of a mounted view a gateway must agree with. */
export interface TargetView {
  readonly handlerKey: string;
  readonly routeKey: string;
}

/**
 * A gateway's URLs lead to views that are there, and that know by which field messages choose their route.
 *
 * @param views by path; a target's path ends with one of them, after whatever a proxy strips
 * @throws ConfigurationError that names the URL and the views
 */
function checkTargets(definition: GatewayDefinition, views: ReadonlyMap<string, TargetView>): void {
  const where = `Gateway "${definition.name}"`;
  const { target, routes, routeSelectionExpression } = definition;
  const [, field] = /^\$request\.body\.([A-Za-z0-9_-]+)$/.exec(routeSelectionExpression) ?? [];
  const checkView = (what: string, url: string, path: string) => {
    const [viewPath, view] = [...views].find(([each]) => path.endsWith(each)) ?? [];
    check(
      where,
      view !== undefined,
      `${what} ${url} leads to no view. Views are mounted at ${[...views.keys()].join(", ")}`,
    );
    const isRead = field === undefined || field === view.routeKey || field === view.handlerKey;
    check(
      where,
      routes.size === 0 || isRead,
      `messages choose their route by "${field}", and the view at ${viewPath} takes "${view.routeKey}" for that. Write there: routeKey = "${field}", or here: routeSelectionExpression: "$request.body.${view.routeKey}"`,
    );
  };
  if (typeof target === "string") checkView("target", target, new URL(target).pathname);
  for (const [key, url] of routes) {
    if (typeof url === "string") checkView(`routes["${key}"]`, url, viewOf(url).viewPath);
  }
}

function checkedDomains(
  where: string,
  given: DomainOptions | readonly DomainOptions[],
  region: string,
): readonly DomainOptions[] {
  const list: readonly DomainOptions[] = Array.isArray(given) ? given : [given];
  const domains = list.map((domain) => checkedDomain(where, domain, region));
  const addresses = domains.map(domainAddress);
  const twice = addresses.find((address, index) => addresses.indexOf(address) !== index);
  check(where, twice === undefined, `domain has ${twice} twice`);
  for (const { name, certificateArn } of domains) {
    const other = domains.find((each) => each.name === name && each.certificateArn !== certificateArn);
    check(where, other === undefined, `domain ${name} has two certificates, and takes one`);
  }
  return Object.freeze(domains);
}

/** What comes after `wss://`. */
export function domainAddress({ name, mappingKey }: Pick<DomainOptions, "name" | "mappingKey">): string {
  return [name, mappingKey].filter(Boolean).join("/");
}

/** @throws ConfigurationError where a function's permission needs it, and nothing says which it is */
function checkedAccount(
  where: string,
  given: string | undefined,
  parts: Pick<GatewayDefinition, "target" | "routes" | "domains" | "accessLog">,
): string | undefined {
  check(
    where,
    given === undefined || isText(given, /^\d{12}$/),
    `account is 12 digits as text, not ${shown(given)}`,
  );
  const { domains, accessLog } = parts;
  const lambdas = functionsOf(parts);
  const [own] = [domains[0]?.certificateArn, accessLog?.destinationArn].flatMap((arn) => arn ?? []);
  const account = given ?? own?.split(":")[4];
  if (account !== undefined) return account;
  const accounts = [...new Set(lambdas.map((lambda) => accountOf({ lambda })))];
  check(
    where,
    accounts.length <= 1,
    `its functions are in the accounts ${accounts.join(" and ")}; say in which the API is: account: "…"`,
  );
  return accounts[0];
}

function checkedDomain(where: string, domain: DomainOptions, region: string): DomainOptions {
  refuseUnknown(`${where}: domain`, domain, DOMAIN_OPTIONS);
  const { name, certificateArn, mappingKey = "" } = domain;
  check(
    where,
    isText(name, /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$/),
    `domain.name is a name such as ws.example.com in small letters, not ${shown(name)}`,
  );
  const arn = isText(certificateArn, /^arn:/) ? certificateArn.split(":") : [];
  check(
    where,
    arn[2] === "acm" && arn[5]?.startsWith("certificate/") === true,
    `domain.certificateArn is the ARN of a certificate in ACM, not ${shown(certificateArn)}`,
  );
  check(
    where,
    arn[3] === region,
    `domain.certificateArn is in ${arn[3]}; the certificate must be in ${region}, as the API is`,
  );
  check(
    where,
    isText(mappingKey, /^[A-Za-z0-9$_.+!*'()-]{0,300}$/),
    `domain.mappingKey is up to 300 letters, digits and $-_.+!*'(), not ${shown(mappingKey)}`,
  );
  check(
    where,
    !/^s?ping$/.test(mappingKey),
    `domain.mappingKey "${mappingKey}" is what API Gateway keeps for itself`,
  );
  return Object.freeze({ name, certificateArn, mappingKey });
}

function checkedTags(
  where: string,
  tags: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  check(where, isRecord(tags), `tags is an object of keys and their values, not ${shown(tags)}`);
  const entries = Object.entries(tags);
  check(where, entries.length <= 48, `tags has ${entries.length}; at most 48`);
  for (const [key, value] of entries) {
    check(
      where,
      /^[\p{L}\p{Z}\p{N}_.:/=+@-]{1,128}$/u.test(key),
      `tags: ${shown(key)} is no key that AWS takes`,
    );
    check(
      where,
      !/^(aws:|sallyport:)/i.test(key),
      `tags: keys that begin with aws: are AWS's, with ${TAG_PREFIX} ours; call ${shown(key)} otherwise`,
    );
    check(
      where,
      isText(value, /^[\p{L}\p{Z}\p{N}_.:/=+@-]{0,256}$/u),
      `tags["${key}"] is no value that AWS takes`,
    );
  }
  return Object.freeze(Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1))));
}

function checkedThrottling(where: string, throttling: ThrottlingOptions): ThrottlingOptions {
  refuseUnknown(`${where}: throttling`, throttling, THROTTLING_OPTIONS);
  const { ratePerSecond, burst } = throttling;
  check(
    where,
    Number.isFinite(ratePerSecond) && ratePerSecond > 0,
    "throttling.ratePerSecond is a number above 0: with 0 every connect would get 429",
  );
  check(where, Number.isInteger(burst) && burst >= 1, "throttling.burst is a whole number from 1");
  return Object.freeze({ ratePerSecond, burst });
}

function checkedLog(where: string, log: AccessLogOptions, region: string): Required<AccessLogOptions> {
  refuseUnknown(`${where}: accessLog`, log, LOG_OPTIONS);
  const { format = LOG_FORMAT } = log;
  // AWS takes a log group's ARN without the `:*` that its own listings end with.
  const destinationArn = isText(log.destinationArn, /^/) ? log.destinationArn.replace(/:\*$/, "") : "";
  check(
    where,
    /^arn:aws[a-z-]*:(logs:[a-z0-9-]+:\d{12}:log-group:|firehose:[a-z0-9-]+:\d{12}:deliverystream\/amazon-apigateway-)/.test(
      destinationArn,
    ),
    `accessLog.destinationArn is the ARN of a log group, or of a Firehose stream named amazon-apigateway-…, not ${shown(log.destinationArn)}`,
  );
  check(
    where,
    destinationArn.split(":")[3] === region,
    `accessLog.destinationArn is in ${destinationArn.split(":")[3]}; the log must be in ${region}, as the API is`,
  );
  check(
    where,
    isText(format, /^[^\r\n]*$/),
    "accessLog.format is one line: CloudWatch keeps one event a line",
  );
  check(
    where,
    isText(format, /\$context\.(extendedR|r)equestId/) && format.length <= 3072,
    "accessLog.format is up to 3072 characters and has $context.requestId in it",
  );
  return Object.freeze({ destinationArn, format });
}
