import { ConfigurationError } from "../errors.ts";
import { CONTEXT_HEADERS, SECRET_HEADER } from "../protocol/gateway-call.ts";
import type { LocalApi, LocalRoute } from "./apis.ts";
import { checkedTimeout } from "./integration-timeout.ts";
import type { Shape } from "./shape.ts";

/** One API with one stage, before one backend: what most need. */
export interface SingleApiOptions {
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

export const SINGLE_API = {
  target: "text or list of texts",
  stage: "text",
  secret: "text",
  routes: "object of texts",
  routeSelectionExpression: "text",
  apiId: "text",
  routeResponses: "boolean",
  integrationTimeoutMs: "number",
} as const satisfies Shape<SingleApiOptions>;

/** The API that a target is short for: three routes and what `routes` names, mapped as an app of ours reads them. */
export function singleApi({
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
  const timeoutMs = checkedTimeout("integrationTimeoutMs", integrationTimeoutMs);
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
