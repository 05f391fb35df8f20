import { DeliveryError } from "../errors.ts";
import { foreignExcerpt } from "../protocol/foreign-body.ts";
import { regionOfHost } from "../protocol/partitions.ts";
import { type CredentialProvider, Credentials, CredentialsError } from "./credentials.ts";
import { type CallResponse, Exchange } from "./exchange.ts";
import { type ClientClass, HttpClients, loadClient } from "./http-clients.ts";
import { FreeList } from "./in-flight.ts";
import { type AwsCredentials, Signer } from "./sigv4.ts";

/** The result of one call to the Management API. A `retry` can succeed later, `gone` cannot. */
export type PostResult =
  | { readonly kind: "ok" }
  | { readonly kind: "gone" }
  | {
      readonly kind: "retry";
      readonly reason: string;
      /** Whether the gateway throttles. Then all calls to it are slowed down. Default `false`. */
      readonly isThrottled?: boolean;
    }
  | { readonly kind: "failed"; readonly reason: string };

/** Interval of the check for calls that have timed out, in milliseconds. */
const SWEEP_MS = 250;
/** How long an unused HTTP connection is kept, in milliseconds. */
const KEEP_ALIVE_MS = 20_000;
/**
 * How long the reason of a status contains the same page, in milliseconds. Otherwise, pages with
 * unique ids would result in many reasons per report.
 */
const PAGE_MS = 60_000;
/**
 * Clock difference that is corrected, in milliseconds. AWS rejects signatures older than 5 minutes.
 */
const MAX_CLOCK_DIFFERENCE_MS = 60_000;

/**
 * The operations of API Gateway's Management API. Implement it to send in another way, for example
 * in tests.
 *
 * `endpoint` is the URL of the API with its stage, such as
 * `https://abc.execute-api.eu-west-1.amazonaws.com/prod`. All methods can be called concurrently.
 */
export interface ManagementApi {
  /**
   * Loads what a call needs to start immediately, such as credentials.
   *
   * It is awaited before the last permission check of a recipient. Default: nothing to load.
   *
   * @returns `undefined` if everything is loaded
   */
  ready?(endpoint: string): Promise<unknown> | undefined;
  /** Sends a text frame to a connection. */
  post(endpoint: string, connectionId: string, frame: string): Promise<PostResult>;
  /** Closes a connection. The client receives the close code 1000. */
  delete(endpoint: string, connectionId: string): Promise<PostResult>;
  /** Checks whether a connection exists. Default: every connection counts as existing. */
  get?(endpoint: string, connectionId: string): Promise<PostResult>;
  /** Releases all resources, when the app is closed. */
  close(): Promise<void>;
}

export interface ManagementApiOptions {
  /** AWS credentials, or a function that returns them. Default: those of the environment. */
  readonly credentials?: CredentialProvider | AwsCredentials | undefined;
  /**
   * AWS region of endpoints with a custom domain. Default: the region in the host, or `AWS_REGION`.
   */
  readonly region?: string | undefined;
  /** Timeout of a call, from connecting to the last byte, in milliseconds. Default 10 000. */
  readonly timeoutMs?: number;
}

const JSON_TYPE = { "content-type": "application/json" };

/** The URL of an endpoint, and what signs its calls. */
interface Endpoint {
  readonly connections: HttpClients;
  readonly host: string;
  /** URL for error messages, without the id of a connection. */
  readonly url: string;
  /** The path before the connection id. */
  readonly prefix: string;
  /** `undefined` for a local gateway, which requires no signature. */
  readonly region: string | undefined;
  /** Recent responses that are not from API Gateway, by status. */
  readonly pages: Map<number, Page>;
}

/** The start of a page that a proxy or load balancer returned. */
interface Page {
  readonly excerpt: string;
  /** `performance.now()` when it was received. */
  readonly at: number;
}

interface Call {
  readonly method: "POST" | "DELETE" | "GET";
  readonly to: Endpoint;
  readonly path: string;
  readonly body: string | undefined;
}

/**
 * Calls the Management API with signed requests over kept connections.
 *
 * Each call in flight has a separate HTTP connection. So no call waits in the HTTP client after the
 * permission check.
 *
 * Source: AWS, "Use @connections commands in your backend service".
 */
export class HttpManagementApi implements ManagementApi {
  readonly #options: ManagementApiOptions;
  readonly #loadClient: () => Promise<ClientClass>;
  readonly #timeoutMs: number;
  readonly #credentials: Credentials;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #hosts = new Map<string, HttpClients>();
  #Client: ClientClass | undefined;
  readonly #signers = new Map<string, Signer>();
  readonly #inFlight = new FreeList<Exchange>();
  #signedBy: AwsCredentials | undefined;
  #timeoutTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** Difference from the local clock to the clock of AWS, in milliseconds. */
  #clockDifference = 0;

  /** @param load loads the HTTP client. Default: the client that works on this runtime */
  constructor(options: ManagementApiOptions = {}, load = loadClient) {
    this.#options = options;
    this.#loadClient = load;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#credentials = new Credentials(options.credentials);
  }

  post(endpoint: string, connectionId: string, frame: string): Promise<PostResult> {
    return this.#call("POST", endpoint, connectionId, frame);
  }

  delete(endpoint: string, connectionId: string): Promise<PostResult> {
    return this.#call("DELETE", endpoint, connectionId, undefined);
  }

  get(endpoint: string, connectionId: string): Promise<PostResult> {
    return this.#call("GET", endpoint, connectionId, undefined);
  }

  ready(endpoint: string): Promise<unknown> | undefined {
    if (!this.#Client) return this.#load().then(() => this.ready(endpoint));
    try {
      if (this.#endpoint(endpoint).region === undefined) return undefined;
      const credentials = this.#credentials.now();
      // The call reports the error.
      return credentials instanceof Promise ? credentials.catch(() => undefined) : undefined;
    } catch {
      return undefined;
    }
  }

  async #load(): Promise<void> {
    this.#Client = await this.#loadClient();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timeoutTimer);
    this.#timeoutTimer = undefined;
    const hosts = [...this.#hosts.values()];
    this.#hosts.clear();
    this.#endpoints.clear();
    await Promise.all(hosts.map((connections) => connections.destroy()));
  }

  #call(
    method: Call["method"],
    endpoint: string,
    connectionId: string,
    body: string | undefined,
  ): Promise<PostResult> {
    if (this.#isClosed) return Promise.resolve({ kind: "failed", reason: "closed" });
    try {
      const to = this.#endpoint(endpoint);
      const call = { method, to, path: to.prefix + encodeURIComponent(connectionId), body };
      if (to.region === undefined) return this.#dispatch(call, body === undefined ? {} : JSON_TYPE);
      const credentials = this.#credentials.now();
      if (!(credentials instanceof Promise)) return this.#dispatch(call, this.#signed(call, credentials));
      // The call must start in this turn of the event loop. The retry checks the recipient again.
      return credentials.then(() => ({ kind: "retry", reason: "credentials had ended" }), signingFailure);
    } catch (error) {
      return Promise.resolve(signingFailure(error));
    }
  }

  #signed({ method, to, path, body }: Call, credentials: AwsCredentials): Record<string, string> {
    const contentType = body === undefined ? undefined : JSON_TYPE["content-type"];
    const signer = this.#signer(to.region ?? "", credentials);
    return signer.sign(
      { method, host: to.host, path, body: body ?? "", contentType },
      Date.now() + this.#clockDifference,
    );
  }

  #dispatch({ method, to, path, body }: Call, headers: Record<string, string>): Promise<PostResult> {
    this.#timeoutTimer ??= setInterval(() => this.#abortTimedOut(), SWEEP_MS).unref();
    return new Promise((resolve) => {
      const client = to.connections.take();
      const call = new Exchange((answer) => {
        this.#inFlight.remove(slot);
        to.connections.give(client);
        resolve(answer instanceof Error ? noResponse(answer) : this.#resultOf(answer, to));
      });
      const slot = this.#inFlight.add(call);
      try {
        client.dispatch({ method, path, headers, body: body ?? null }, call);
      } catch (error) {
        call.abort(error as Error);
      }
    });
  }

  #abortTimedOut(): void {
    const startedBefore = performance.now() - this.#timeoutMs;
    for (const call of this.#inFlight) if (call.startedAt <= startedBefore) call.abort(new Error("timeout"));
    if (!this.#inFlight.isEmpty) return;
    clearInterval(this.#timeoutTimer);
    this.#timeoutTimer = undefined;
  }

  #endpoint(endpoint: string): Endpoint {
    return this.#endpoints.get(endpoint) ?? this.#open(endpoint);
  }

  #open(endpoint: string): Endpoint {
    const url = new URL(endpoint);
    let connections = this.#hosts.get(url.origin);
    if (!connections) {
      if (!this.#Client)
        throw new Error("The HTTP client is not loaded. Await ready() before the first call.");
      connections = new HttpClients(this.#Client, url.origin, {
        connectTimeout: this.#timeoutMs,
        headersTimeout: 0,
        bodyTimeout: 0,
        keepAliveTimeout: KEEP_ALIVE_MS,
        maxHeaderSize: 16_384,
      });
      this.#hosts.set(url.origin, connections);
    }
    // A local gateway requires no signature. With both options set, calls to it are signed too.
    const { credentials, region } = this.#options;
    const isSigned = url.protocol === "https:" || (credentials !== undefined && region !== undefined);
    const path = `${url.pathname.replace(/\/+$/, "")}/@connections`;
    const to = {
      connections,
      host: url.host,
      url: url.origin + path,
      prefix: `${path}/`,
      region: isSigned ? regionOf(url.hostname, region) : undefined,
      pages: new Map<number, Page>(),
    };
    this.#endpoints.set(endpoint, to);
    return to;
  }

  #signer(region: string, credentials: AwsCredentials): Signer {
    if (credentials !== this.#signedBy) this.#signers.clear();
    this.#signedBy = credentials;
    let signer = this.#signers.get(region);
    if (!signer) {
      signer = new Signer(region, credentials);
      this.#signers.set(region, signer);
    }
    return signer;
  }

  #resultOf(answer: CallResponse, to: Endpoint): PostResult {
    const { status, date } = answer;
    if (status >= 200 && status < 300) return { kind: "ok" };
    if (status === 410 && !isForeign(answer)) return { kind: "gone" };
    const reason = reasonOf(answer, to);
    if (status === 429) return { kind: "retry", reason, isThrottled: true };
    if (status >= 500) return { kind: "retry", reason };
    if (status === 403 && to.region !== undefined && this.#correctClock(date)) {
      return { kind: "retry", reason: `${reason}: this machine's clock is wrong` };
    }
    return { kind: "failed", reason };
  }

  /**
   * Returns whether a signature was rejected because of a wrong clock, and corrects the difference.
   */
  #correctClock(date: string | undefined): boolean {
    const remote = date === undefined ? Number.NaN : Date.parse(date);
    const difference = remote - Date.now();
    if (!(Math.abs(difference - this.#clockDifference) > MAX_CLOCK_DIFFERENCE_MS)) return false;
    this.#clockDifference = difference;
    return true;
  }
}

/**
 * Returns whether a response is a page of a proxy or load balancer.
 *
 * API Gateway sends the header `x-amzn-errortype` with an error. Emulators without it send JSON or
 * an empty body.
 */
function isForeign({ errorType, body }: CallResponse): boolean {
  return errorType === undefined && foreignExcerpt(body) !== undefined;
}

/** Returns the reason of an error response. It quotes a page that is not from API Gateway. */
function reasonOf({ status, errorType, body }: CallResponse, { url, pages }: Endpoint): string {
  if (errorType !== undefined) return `status ${status} ${errorType}`;
  const excerpt = foreignExcerpt(body);
  if (excerpt === undefined) return `status ${status}`;
  const now = performance.now();
  let page = pages.get(status);
  if (!page || now - page.at > PAGE_MS) {
    page = { excerpt, at: now };
    pages.set(status, page);
  }
  return `status ${status} from ${url}, which is not an answer of API Gateway: ${page.excerpt}`;
}

/**
 * Returns the result of an unsigned call. A failed provider is retried, missing credentials are
 * not.
 */
function signingFailure(error: unknown): PostResult {
  const isPermanent = error instanceof DeliveryError && !(error instanceof CredentialsError);
  return { kind: isPermanent ? "failed" : "retry", reason: (error as Error).message };
}

/** Returns the result of a call without a response. It is not known whether the call arrived. */
function noResponse(error: Error): PostResult {
  return { kind: "retry", reason: (error as { code?: string }).code ?? error.message };
}

function regionOf(hostname: string, configured: string | undefined): string {
  const found =
    regionOfHost(hostname) ?? configured ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
  if (found) return found;
  throw new DeliveryError(
    `The host ${hostname} does not contain an AWS region, but requests must be signed for one. ` +
      "Set apiGateway: { region } or AWS_REGION.",
    { code: "SALLYPORT_CREDENTIALS", status: 500 },
  );
}
