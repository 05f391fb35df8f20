import { ConfigurationError } from "../errors.ts";
import { CONTEXT_HEADERS, SECRET_HEADER } from "../protocol/gateway-call.ts";
import type { LocalApi, LocalRoute } from "./apis.ts";
import { checkedTimeout, type Shape } from "./shape.ts";

/** The options of a gateway with one API, one stage and one backend. */
export interface SingleApiOptions {
  /**
   * The base URL of the backend, such as "http://localhost:3000/ws/chat". `connect`, `disconnect`
   * and `default` are appended to it, after a slash.
   *
   * A list contains the instances behind a load balancer. Each event goes to the next instance, and
   * an instance that accepts no connection is skipped.
   */
  readonly target?: string | readonly string[];
  /** The stage, which is the first segment of every path. Default "dev". */
  readonly stage?: string;
  /**
   * The secret that every integration receives as `x-sallyport-secret`. Default: not mapped, so a
   * header of the client is passed on.
   */
  readonly secret?: string;
  /**
   * The URLs of more integrations by route key, which are used as they are. Default: none, so all
   * messages go to `$default`.
   */
  readonly routes?: Readonly<Record<string, string>>;
  /** The expression that selects the route of a message. Default "$request.body.action". */
  readonly routeSelectionExpression?: string;
  /** The id of the API. Default: ten random lower-case letters and digits. */
  readonly apiId?: string;
  /**
   * Whether answers to messages are sent to the client. Default true. At AWS, the default is false.
   */
  readonly routeResponses?: boolean;
  /** The time limit of an integration, in milliseconds, 50 to 29 000 as at AWS. Default 29 000. */
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

/**
 * Returns the API of these options: three routes and those of `routes`, with the headers of
 * Sallyport.
 */
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
      "The secret cannot be sent as a header. Use 1 to 510 ASCII characters without comma, quote, space or control character.",
    );
  }
  const targets = baseUrls(target);
  const requestParameters = mappedHeaders(secret);
  const timeoutMs = checkedTimeout("integrationTimeoutMs", integrationTimeoutMs);
  const route = (uri: string | readonly string[], routeResponse: boolean): LocalRoute => ({
    integration: { type: "HTTP_PROXY", uri, requestParameters, timeoutMs },
    routeResponse,
  });
  const urlsOf = (name: string) => targets.map((base) => base + name);
  const allRoutes: Record<string, LocalRoute> = {
    $connect: route(urlsOf("connect"), false),
    $disconnect: route(urlsOf("disconnect"), false),
    $default: route(urlsOf("default"), routeResponses),
  };
  for (const [key, url] of Object.entries(routes)) {
    if (key === "" || key.startsWith("$")) {
      throw new ConfigurationError(
        `routes: "${key}" is not a custom route key. Use a key that is not empty and does not begin with "$".`,
      );
    }
    allRoutes[key] = route(checkUrl(`routes["${key}"]`, url).href, routeResponses);
  }
  return {
    ...(apiId === undefined ? {} : { id: apiId }),
    routeSelectionExpression,
    routes: allRoutes,
    stages: { [stage]: {} },
  };
}

/** Returns the mapping of the headers that a Sallyport app reads. */
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
    throw new ConfigurationError(
      `target "${target}" has a query or fragment. Remove everything after the path.`,
    );
  }
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}

function checkUrl(name: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url;
  throw new ConfigurationError(
    `${name} "${text}" is not an http or https URL. Write one such as "http://localhost:3000/ws/chat".`,
  );
}
