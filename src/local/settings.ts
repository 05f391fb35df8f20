import { ConfigurationError } from "../errors.ts";
import { IDLE_TIMEOUT_MS, MAX_CONNECTION_MS } from "../protocol/quotas.ts";
import { checkApi, type LocalApi, type Throttling } from "./apis.ts";
import { type Clock, systemClock } from "./clock.ts";
import { AllowedHosts } from "./hosts.ts";
import { newApiId } from "./ids.ts";
import type { Certificate } from "./listener.ts";
import type { OnHttpError } from "./route-response.ts";
import { checkedChoice, checkShape, type Shape } from "./shape.ts";
import { checkCredentials, type SigningCredentials } from "./signature.ts";
import { SINGLE_API, type SingleApiOptions, singleApi } from "./single-api.ts";
import { type DomainMappings, Stages } from "./stages.ts";
import { Account, type AccountThrottling, checkAccount, checkedThrottling } from "./throttling.ts";

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
  /**
   * Names of this machine that a Host header may contain beside `localhost`, its loopback addresses, `host` and the names of APIs and `domains`,
   * such as the name of a container. `*.example.test` matches all names below `example.test`. Requests with another Host are answered 403.
   * Default: none.
   */
  readonly allowedHosts?: readonly string[];
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
  readonly credentials?: SigningCredentials;
  /**
   * Bytes that can wait for a client that reads slowly. Further messages are answered with 429 by the Management API. A client that reads
   * nothing for ten seconds meanwhile is closed with 1008. Default 1 048 576 (1 MiB).
   */
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
  onError: "function",
} as const satisfies Shape<LocalGatewayOptions>;

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
  readonly onError: (error: unknown, where: string) => void;
}

/** @throws ConfigurationError for an option that cannot work, saying what to write instead */
export function checkOptions(options: LocalGatewayOptions): Settings {
  checkShape("startLocalGateway()", options, OPTIONS);
  const { port = 3001, domains = {}, clock = systemClock, maxBufferedBytes = MAX_BUFFERED_BYTES } = options;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new ConfigurationError(
      `port must be a whole number from 0 to 65535, but received ${port}. 0 uses a free port.`,
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
    onError: options.onError ?? (() => {}),
  };
}

function severalApis(options: LocalGatewayOptions, apis: readonly LocalApi[]): readonly LocalApi[] {
  for (const api of apis) checkApi(api);
  const single = Object.keys(SINGLE_API) as readonly (keyof SingleApiOptions)[];
  const stray = single.find((name) => options[name] !== undefined);
  if (stray === undefined) return apis;
  throw new ConfigurationError(
    `${stray} is an option of a gateway with one target. With apis, set it in the API.`,
  );
}

function duration(name: string, value: number | undefined, standard: number): number {
  if (value === undefined) return standard;
  if (Number.isFinite(value) && value >= 1 && value < 2 ** 31) return value;
  throw new ConfigurationError(
    `${name} must be a number of milliseconds from 1 to ${2 ** 31 - 1}, but received ${value}.`,
  );
}
