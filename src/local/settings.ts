import { ConfigurationError } from "../errors.ts";
import { IDLE_TIMEOUT_MS, MAX_CONNECTION_MS } from "../protocol/quotas.ts";
import { checkApi, type LocalApi, type Throttling } from "./apis.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { HandledEvent } from "./handled-event.ts";
import { AllowedHosts } from "./hosts.ts";
import { newApiId } from "./ids.ts";
import type { Certificate } from "./listener.ts";
import type { OnHttpError } from "./route-response.ts";
import { checkedChoice, checkShape, type Shape } from "./shape.ts";
import { checkCredentials, type SigningCredentials } from "./signature.ts";
import { SINGLE_API, type SingleApiOptions, singleApi } from "./single-api.ts";
import { type DomainMappings, Stages } from "./stages.ts";
import { Account, type AccountThrottling, checkAccount, checkedThrottling } from "./throttling.ts";

/** The options of `startLocalGateway`. Either `target` or `apis` is required. */
export interface LocalGatewayOptions extends SingleApiOptions {
  /** Any number of APIs with any number of stages. It replaces `target` and the related options. */
  readonly apis?: readonly LocalApi[];
  /**
   * Custom domains with the stages of their paths, by the first path segment, or "" for the root:
   * `{ "ws.example.test": { chat: { apiId, stage } } }`. The Host header of a request selects the
   * domain. Default: none.
   */
  readonly domains?: DomainMappings;
  /** The port to listen on, where 0 selects any free port. Default 3001. */
  readonly port?: number;
  /** The address to listen on. Default "127.0.0.1", so that only this machine can connect. */
  readonly host?: string;
  /**
   * More names of this machine that a Host header can contain, such as the name of a container.
   * `*.example.test` matches all names below `example.test`. Default: none.
   *
   * `localhost`, loopback addresses, `host`, and the names of APIs and `domains` are always
   * allowed. A request with another Host header is answered with 403.
   */
  readonly allowedHosts?: readonly string[];
  /** The certificate for `wss:` and `https:`. Default: none, clients connect without TLS. */
  readonly tls?: Certificate;
  /**
   * What a client receives if its message is answered with another status than 2xx. Default "body",
   * the documented pass-through, which requires route responses.
   *
   * The behavior of AWS is not known, so test your client with "errorFrame" and "silent" too.
   */
  readonly onHttpError?: OnHttpError;
  /**
   * What a client receives if its message is throttled by the stage or the account. The behavior of
   * AWS is not known. Default "silent".
   */
  readonly onThrottledMessage?: "silent" | "errorFrame";
  /** The limit of Management API calls. Calls above it are answered with 429. Default: no limit. */
  readonly managementThrottling?: Throttling;
  /**
   * The limits of all APIs together, including their Management API, as for an account at AWS.
   * `{}` sets the quotas of AWS. Default: no limit.
   *
   * Requests above a limit are rejected with 429, and messages as `onThrottledMessage` specifies.
   */
  readonly accountThrottling?: AccountThrottling;
  /**
   * The credentials with which calls of the Management API must be signed, and upgrade requests if
   * `$connect` has the authorization AWS_IAM. Other requests are answered with 403, as at AWS.
   * Default: no signature is required.
   */
  readonly credentials?: SigningCredentials;
  /**
   * The number of bytes that can wait for a client that reads slowly. Default 1 048 576 (1 MiB).
   *
   * Further messages are answered with 429 by the Management API. A client that then reads nothing
   * for ten seconds is closed with 1008.
   */
  readonly maxBufferedBytes?: number;
  /**
   * The idle time after which a connection is closed with 1001, in milliseconds. Default 10
   * minutes.
   */
  readonly idleTimeoutMs?: number;
  /**
   * The duration after which a connection is closed with 1001, in milliseconds. Default 2 hours.
   */
  readonly maxConnectionMs?: number;
  /**
   * The clock of these timeouts and of throttling. Pass a `ManualClock` in a test. Default: the
   * system clock.
   */
  readonly clock?: Clock;
  /**
   * Whether the page at "/" shows the connections and the events. Default true.
   *
   * Only programs on this machine can use it, at a loopback address. It shows secrets, such as tokens.
   * Set it to false for a tunnel that forwards TCP, such as `ssh -R`, because the gateway cannot
   * distinguish its requests. See docs/guides/local-development.md#inspector.
   */
  readonly inspector?: boolean;
  /**
   * Called if an integration or authorizer failed, could not be reached or timed out. `where` is
   * the route key. Also called if a function of `setFaults()` threw for a post, with `where` set to
   * "POST @connections". Default: errors are ignored.
   */
  readonly onError?: (error: unknown, where: string) => void;
  /** Called after each call of an integration. An error that it throws is passed to `onError`. */
  readonly onEvent?: (event: HandledEvent) => void;
}

const OPTIONS = {
  ...SINGLE_API,
  apis: "list",
  domains: "object of objects",
  port: "number",
  host: "text",
  allowedHosts: "list of texts",
  tls: "object",
  onHttpError: "text",
  onThrottledMessage: "text",
  managementThrottling: "object",
  accountThrottling: "object",
  credentials: "object",
  maxBufferedBytes: "number",
  idleTimeoutMs: "number",
  maxConnectionMs: "number",
  clock: "object",
  inspector: "boolean",
  onError: "function",
  onEvent: "function",
} as const satisfies Shape<LocalGatewayOptions>;

/** AWS has such a limit, but its size is not known. */
const MAX_BUFFERED_BYTES = 1024 * 1024;

/** The options, checked and complete. */
export interface Settings {
  readonly stages: Stages;
  /** The id of the first API. */
  readonly apiId: string;
  /** The first stage of the first API. */
  readonly stage: string;
  readonly port: number;
  readonly host: string;
  readonly allowedHosts: AllowedHosts;
  readonly onHttpError: OnHttpError;
  readonly onThrottledMessage: "silent" | "errorFrame";
  readonly tls: Certificate | undefined;
  readonly managementThrottling: Throttling | undefined;
  readonly account: Account;
  readonly credentials: SigningCredentials | undefined;
  readonly maxBufferedBytes: number;
  readonly idleTimeoutMs: number;
  readonly maxConnectionMs: number;
  readonly clock: Clock;
  readonly inspector: boolean;
  readonly onError: (error: unknown, where: string) => void;
  readonly onEvent: ((event: HandledEvent) => void) | undefined;
}

/**
 * Checks the options and adds their defaults.
 *
 * @throws ConfigurationError for an invalid option, with what to write instead
 */
export function checkOptions(options: LocalGatewayOptions): Settings {
  checkShape("startLocalGateway()", options, OPTIONS);
  const { port = 3001, domains = {}, clock = systemClock, maxBufferedBytes = MAX_BUFFERED_BYTES } = options;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new ConfigurationError(
      `port must be a whole number from 0 to 65535, but received ${port}. Use 0 for a free port.`,
    );
  }
  if (!(maxBufferedBytes >= 0))
    throw new ConfigurationError(
      `maxBufferedBytes must be a number of bytes of at least 0, but received ${maxBufferedBytes}.`,
    );
  if (typeof clock.now !== "function" || typeof clock.after !== "function")
    throw new ConfigurationError(
      "clock must be an object with the functions now and after. Write: clock: new ManualClock().",
    );
  const apis = (options.apis ? severalApis(options, options.apis) : [singleApi(options)]).map((api) => {
    const id = api.id ?? newApiId();
    if (/^[a-z0-9]{1,64}$/.test(id)) return { ...api, id };
    throw new ConfigurationError(
      `apiId must be 1 to 64 lower-case letters and digits, but received "${id}".`,
    );
  });
  const [first] = apis;
  if (!first) throw new ConfigurationError("apis is empty, so no client could connect. Add an API.");
  const { credentials, accountThrottling } = options;
  if (credentials) checkCredentials(credentials);
  if (accountThrottling) checkAccount(accountThrottling);
  const stages = new Stages(apis, { domains, clock, credentials });
  const host = options.host ?? "127.0.0.1";
  return {
    stages,
    apiId: first.id,
    stage: Object.keys(first.stages)[0] ?? "",
    port,
    host,
    allowedHosts: new AllowedHosts({
      host,
      allowedHosts: options.allowedHosts ?? [],
      isGatewayHost: (name) => stages.isOwnHost(name),
    }),
    onHttpError: checkedChoice("onHttpError", options.onHttpError, ["body", "errorFrame", "silent"]),
    onThrottledMessage: checkedChoice("onThrottledMessage", options.onThrottledMessage, [
      "silent",
      "errorFrame",
    ]),
    tls: options.tls,
    managementThrottling: checkedThrottling("managementThrottling", options.managementThrottling),
    account: new Account(accountThrottling, clock),
    credentials,
    maxBufferedBytes,
    idleTimeoutMs: duration("idleTimeoutMs", options.idleTimeoutMs, IDLE_TIMEOUT_MS),
    maxConnectionMs: duration("maxConnectionMs", options.maxConnectionMs, MAX_CONNECTION_MS),
    clock,
    inspector: options.inspector ?? true,
    onError: options.onError ?? (() => {}),
    onEvent: options.onEvent,
  };
}

function severalApis(options: LocalGatewayOptions, apis: readonly LocalApi[]): readonly LocalApi[] {
  for (const api of apis) checkApi(api);
  const single = Object.keys(SINGLE_API) as readonly (keyof SingleApiOptions)[];
  const misplaced = single.find((name) => options[name] !== undefined);
  if (misplaced === undefined) return apis;
  throw new ConfigurationError(
    `${misplaced} is an option of a gateway with one target. With apis, set it in the API.`,
  );
}

function duration(name: string, value: number | undefined, defaultMs: number): number {
  if (value === undefined) return defaultMs;
  if (Number.isFinite(value) && value >= 1 && value < 2 ** 31) return value;
  throw new ConfigurationError(
    `${name} must be a number of milliseconds from 1 to ${2 ** 31 - 1}, but received ${value}.`,
  );
}
