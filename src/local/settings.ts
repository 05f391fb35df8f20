import { ConfigurationError } from "../errors.ts";
import { IDLE_TIMEOUT_MS, INTEGRATION_TIMEOUT_MS, MAX_CONNECTION_MS } from "../protocol/quotas.ts";
import { newApiId } from "./ids.ts";
import type { OnHttpError } from "./route-response.ts";
import { RouteSelection } from "./route-selection.ts";

/** How a local gateway is set up. Only `target` is needed. */
export interface LocalGatewayOptions {
  /**
   * Base URL that the integrations are made from: `${target}connect`, `disconnect` and `default`, such as
   * "http://localhost:3000/ws/chat". A missing trailing slash is added. Of several, as instances behind a load balancer, each
   * event goes to the next one, and past one that nobody listens at.
   */
  readonly target: string | readonly string[];
  /** Default 3001; 0 takes any free one. */
  readonly port?: number;
  /** Address to listen on. Default "127.0.0.1", so that only this machine can connect. */
  readonly host?: string;
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
  /**
   * What a non-2xx answer to a message gives the client. Default "body", the documented pass-through, which needs
   * route responses. AWS's behaviour is not established: try your client with "errorFrame" and "silent" as well.
   */
  readonly onHttpError?: OnHttpError;
  /** Longest wait for an integration, in milliseconds. Default 29 000, AWS's most. */
  readonly integrationTimeoutMs?: number;
  /** A socket without data for so long is closed with 1001, in milliseconds. Default 10 minutes. */
  readonly idleTimeoutMs?: number;
  /** Every socket is closed with 1001 after so long, in milliseconds. Default 2 hours. */
  readonly maxConnectionMs?: number;
  /** Hears of integrations that could not be reached or timed out. `where` is the route key. Default: nothing. */
  readonly onError?: (error: unknown, where: string) => void;
}

/** The options, checked and complete. */
export interface Settings
  extends Required<Omit<LocalGatewayOptions, "secret" | "routeSelectionExpression" | "target">> {
  /** At least one; each ends with a slash. */
  readonly targets: readonly string[];
  readonly secret: string | undefined;
  readonly routeSelection: RouteSelection;
}

/** @throws ConfigurationError for an option that cannot work, saying what to write instead */
export function checkOptions(options: LocalGatewayOptions): Settings {
  const { port = 3001, stage = "dev", secret, routes = {}, apiId = newApiId() } = options;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new ConfigurationError(
      `port ${port} is no port. Use a whole number from 0 to 65535; 0 takes a free one.`,
    );
  }
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(stage)) {
    throw new ConfigurationError(
      `stage "${stage}" is no stage name. Use 1 to 128 letters, digits, "_" or "-".`,
    );
  }
  if (secret !== undefined && !/^[\x21-\x2b\x2d-\x7e]{1,512}$/.test(secret)) {
    throw new ConfigurationError(
      "The secret cannot travel as a header. Use 1 to 512 ASCII characters without comma, space or control character.",
    );
  }
  if (!/^[A-Za-z0-9]{1,64}$/.test(apiId)) {
    throw new ConfigurationError(`apiId "${apiId}" is no API id. Use letters and digits.`);
  }
  for (const [key, url] of Object.entries(routes)) {
    if (key === "" || key.startsWith("$")) {
      throw new ConfigurationError(
        `routes: "${key}" is no custom route key. A key is not empty and does not begin with "$".`,
      );
    }
    checkUrl(`routes["${key}"]`, url);
  }
  return {
    targets: baseUrls(options.target),
    port,
    host: options.host ?? "127.0.0.1",
    stage,
    secret,
    routes,
    routeSelection: new RouteSelection(
      options.routeSelectionExpression ?? "$request.body.action",
      Object.keys(routes),
    ),
    apiId,
    routeResponses: options.routeResponses ?? true,
    onHttpError: options.onHttpError ?? "body",
    integrationTimeoutMs: duration(
      "integrationTimeoutMs",
      options.integrationTimeoutMs,
      INTEGRATION_TIMEOUT_MS,
    ),
    idleTimeoutMs: duration("idleTimeoutMs", options.idleTimeoutMs, IDLE_TIMEOUT_MS),
    maxConnectionMs: duration("maxConnectionMs", options.maxConnectionMs, MAX_CONNECTION_MS),
    onError: options.onError ?? (() => {}),
  };
}

function baseUrls(target: string | readonly string[]): readonly string[] {
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
