import { ConfigurationError } from "../errors.ts";
import { CONTEXT_HEADERS, SECRET_HEADER } from "../protocol/gateway-call.ts";
import { IDLE_TIMEOUT_MS, INTEGRATION_TIMEOUT_MS, MAX_CONNECTION_MS } from "../protocol/quotas.ts";
import type { LocalApi, LocalRoute, Throttling } from "./apis.ts";
import { type Clock, systemClock } from "./clock.ts";
import { newApiId } from "./ids.ts";
import type { Certificate } from "./listener.ts";
import type { OnHttpError } from "./route-response.ts";
import { type DomainMappings, Stages } from "./stages.ts";
import { Account, type AccountThrottling, checkedThrottling } from "./throttling.ts";

/** How a local gateway is set up. Only `target` is needed, or `apis` in its place. */
export interface LocalGatewayOptions extends SingleApiOptions {
  /** Any number of APIs with any number of stages, in place of `target` and what goes with it. */
  readonly apis?: readonly LocalApi[];
  /**
   * Domains of your own, each with the stages that the first part of its paths leads to: `{ "ws.example.test": { chat: { apiId, stage } } }`, "" for the root. A request is
   * for a domain when its Host header says so. Default: none.
   */
  readonly domains?: DomainMappings;
  /** Default 3001; 0 takes any free one. */
  readonly port?: number;
  /** Address to listen on. Default "127.0.0.1", so that only this machine can connect. */
  readonly host?: string;
  /** Whose certificate clients see, by `wss:` and `https:`. Default: they come without TLS. */
  readonly tls?: Certificate;
  /**
   * What a non-2xx answer to a message gives the client. Default "body", the documented pass-through, which needs
   * route responses. AWS's behaviour is not established: try your client with "errorFrame" and "silent" as well.
   */
  readonly onHttpError?: OnHttpError;
  /** What the client of a message hears that is throttled, by its stage or the account. Not established at AWS. Default "silent". */
  readonly onThrottledMessage?: "silent" | "errorFrame";
  /** How much the Management API takes; more is answered 429. Default: everything. */
  readonly managementThrottling?: Throttling;
  /**
   * How much all APIs take together, their Management API too, as an account does at AWS: `{}` for AWS's own quotas. More is refused with 429,
   * and of messages as `onThrottledMessage` says. Default: everything.
   */
  readonly accountThrottling?: AccountThrottling;
  /**
   * Whose signature calls of the Management API must have, and upgrade requests where `$connect` is authorized by AWS_IAM. Others are answered
   * 403, as at AWS. Default: no signature is asked for.
   */
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    /** Of the APIs. Default: whatever a call is signed for. */
    readonly region?: string;
  };
  /** Bytes that may wait for a client that reads slowly; more is answered 429 by the Management API. Default 1 MB. */
  readonly maxBufferedBytes?: number;
  /** A socket without data for so long is closed with 1001, in milliseconds. Default 10 minutes. */
  readonly idleTimeoutMs?: number;
  /** Every socket is closed with 1001 after so long, in milliseconds. Default 2 hours. */
  readonly maxConnectionMs?: number;
  /** What tells the time for those two and for throttling: a `ManualClock` in a test. Default: the machine's. */
  readonly clock?: Clock;
  /** Hears of integrations and authorizers that failed, could not be reached or timed out. `where` is the route key. Default: nothing. */
  readonly onError?: (error: unknown, where: string) => void;
}

/** One API with one stage, before one backend: what most need. */
interface SingleApiOptions {
  /**
   * Base URL that the integrations are made from: `${target}connect`, `disconnect` and `default`, such as
   * "http://localhost:3000/ws/chat". A missing trailing slash is added. Of several, as instances behind a load balancer, each
   * event goes to the next one, and past one that nobody listens at.
   */
  readonly target?: string | readonly string[];
  /** First part of every path. Default "dev". */
  readonly stage?: string;
  /** Mapped as `x-sallyport-secret` on every integration. Default: not mapped, and a client's own passes. */
  readonly secret?: string;
  /** Integration URL by custom route key, taken as it is. Default none: all messages go to `$default`. */
  readonly routes?: Readonly<Record<string, string>>;
  /** Default "$request.body.action". */
  readonly routeSelectionExpression?: string;
  /** Default ten random lower-case letters and digits. */
  readonly apiId?: string;
  /** Whether answers to messages reach the client. Default true. AWS has them off until they are set up. */
  readonly routeResponses?: boolean;
  /** Longest wait for an integration, in milliseconds, 50 to 29 000, as at AWS. Default 29 000. */
  readonly integrationTimeoutMs?: number;
}

const SINGLE_OPTIONS = [
  "target",
  "stage",
  "secret",
  "routes",
  "routeSelectionExpression",
  "apiId",
  "routeResponses",
  "integrationTimeoutMs",
] as const satisfies readonly (keyof SingleApiOptions)[];

/** AWS has such a limit, whose size is not established. */
const MAX_BUFFERED_BYTES = 1024 * 1024;

/** The options, checked and complete. */
export interface Settings {
  readonly stages: Stages;
  /** Of the first API and its first stage. */
  readonly apiId: string;
  readonly stage: string;
  readonly port: number;
  readonly host: string;
  readonly onHttpError: OnHttpError;
  readonly onThrottledMessage: "silent" | "errorFrame";
  readonly tls: Certificate | undefined;
  readonly managementThrottling: Throttling | undefined;
  readonly account: Account;
  readonly credentials: LocalGatewayOptions["credentials"];
  readonly maxBufferedBytes: number;
  readonly idleTimeoutMs: number;
  readonly maxConnectionMs: number;
  readonly clock: Clock;
  readonly onError: (error: unknown, where: string) => void;
}

/** @throws ConfigurationError for an option that cannot work, saying what to write instead */
export function checkOptions(options: LocalGatewayOptions): Settings {
  const { port = 3001, domains = {}, clock = systemClock, maxBufferedBytes = MAX_BUFFERED_BYTES } = options;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new ConfigurationError(
      `port ${port} is no port. Use a whole number from 0 to 65535; 0 takes a free one.`,
    );
  }
  if (!(maxBufferedBytes >= 0))
    throw new ConfigurationError(`maxBufferedBytes ${maxBufferedBytes} is no number of bytes from 0.`);
  const apis = (options.apis ? severalApis(options, options.apis) : [singleApi(options)]).map((api) => {
    const id = api.id ?? newApiId();
    if (/^[A-Za-z0-9]{1,64}$/.test(id)) return { ...api, id };
    throw new ConfigurationError(`apiId "${id}" is no API id. Use letters and digits.`);
  });
  const [first] = apis;
  if (!first) throw new ConfigurationError("apis is empty, so there is nothing to connect to.");
  const { credentials, accountThrottling } = options;
  for (const name of ["connections", "requests"] as const)
    checkedThrottling(`accountThrottling: ${name}`, accountThrottling?.[name]);
  const stages = new Stages(apis, { domains, clock, credentials });
  return {
    stages,
    apiId: first.id,
    stage: Object.keys(first.stages)[0] ?? "",
    port,
    host: options.host ?? "127.0.0.1",
    onHttpError: options.onHttpError ?? "body",
    onThrottledMessage: options.onThrottledMessage ?? "silent",
    tls: options.tls,
    managementThrottling: checkedThrottling("managementThrottling", options.managementThrottling),
    account: new Account(accountThrottling, clock),
    credentials,
    maxBufferedBytes,
    idleTimeoutMs: duration("idleTimeoutMs", options.idleTimeoutMs, IDLE_TIMEOUT_MS),
    maxConnectionMs: duration("maxConnectionMs", options.maxConnectionMs, MAX_CONNECTION_MS),
    clock,
    onError: options.onError ?? (() => {}),
  };
}

function severalApis(options: LocalGatewayOptions, apis: readonly LocalApi[]): readonly LocalApi[] {
  const stray = SINGLE_OPTIONS.find((name) => options[name] !== undefined);
  if (stray === undefined) return apis;
  throw new ConfigurationError(`${stray} is for a gateway with one target; with apis, write it there.`);
}

/** The API that a target is short for: three routes and what `routes` names, mapped as an app of ours reads them. */
function singleApi({
  stage = "dev",
  secret,
  routes = {},
  apiId,
  routeResponses = true,
  integrationTimeoutMs,
  routeSelectionExpression = "$request.body.action",
  target,
}: SingleApiOptions): LocalApi {
  if (secret !== undefined && !/^[\x21-\x26\x28-\x2b\x2d-\x7e]{1,510}$/.test(secret)) {
    throw new ConfigurationError(
      "The secret cannot travel as a header. Use 1 to 510 ASCII characters without comma, quote, space or control character.",
    );
  }
  const targets = baseUrls(target);
  const requestParameters = mappedHeaders(secret);
  const timeoutMs = duration("integrationTimeoutMs", integrationTimeoutMs, INTEGRATION_TIMEOUT_MS);
  const route = (uri: string | readonly string[], routeResponse: boolean): LocalRoute => ({
    integration: { type: "HTTP_PROXY", uri, requestParameters, timeoutMs },
    routeResponse,
  });
  const below = (name: string) => targets.map((base) => base + name);
  const own: Record<string, LocalRoute> = {
    $connect: route(below("connect"), false),
    $disconnect: route(below("disconnect"), false),
    $default: route(below("default"), routeResponses),
  };
  for (const [key, url] of Object.entries(routes)) {
    if (key === "" || key.startsWith("$")) {
      throw new ConfigurationError(
        `routes: "${key}" is no custom route key. A key is not empty and does not begin with "$".`,
      );
    }
    own[key] = route(checkUrl(`routes["${key}"]`, url).href, routeResponses);
  }
  return {
    ...(apiId === undefined ? {} : { id: apiId }),
    routeSelectionExpression,
    routes: own,
    stages: { [stage]: {} },
  };
}

/** What an app of ours reads from every call. */
function mappedHeaders(secret: string | undefined): Readonly<Record<string, string>> {
  const headers: Record<string, string> = { ...CONTEXT_HEADERS };
  if (secret !== undefined) headers[SECRET_HEADER] = `'${secret}'`;
  const entries = Object.entries(headers).map(([name, value]) => [
    `integration.request.header.${name}`,
    value,
  ]);
  return Object.fromEntries(entries);
}

function baseUrls(target: string | readonly string[] | undefined): readonly string[] {
  const targets = typeof target === "string" ? [target] : target;
  if (Array.isArray(targets) && targets.length > 0) return targets.map(baseUrl);
  throw new ConfigurationError(
    'target is missing. Write the URL of your backend, such as "http://localhost:3000/ws/chat".',
  );
}

function baseUrl(target: string): string {
  const url = checkUrl("target", target);
  if (url.search || url.hash) {
    throw new ConfigurationError(`target "${target}" has a query or fragment. Write the URL up to its path.`);
  }
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}

function checkUrl(name: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url;
  throw new ConfigurationError(
    `${name} "${text}" is no http or https URL. Write one such as "http://localhost:3000/ws/chat".`,
  );
}

function duration(name: string, value: number | undefined, standard: number): number {
  if (value === undefined) return standard;
  if (Number.isFinite(value) && value >= 1 && value < 2 ** 31) return value;
  throw new ConfigurationError(
    `${name} ${value} is no duration. Use milliseconds, from 1 to ${2 ** 31 - 1}.`,
  );
}
