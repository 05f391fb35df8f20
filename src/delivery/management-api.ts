import { DeliveryError } from "../errors.ts";
import { foreignExcerpt } from "../protocol/foreign-body.ts";
import { regionOfHost } from "../protocol/partitions.ts";
import { type CredentialProvider, Credentials, CredentialsError } from "./credentials.ts";
import { type Answer, Exchange } from "./exchange.ts";
import { FreeList } from "./free-list.ts";
import { type ClientClass, HttpClients, loadClient } from "./http-clients.ts";
import { type AwsCredentials, Signer } from "./sigv4.ts";

/** What the Management API said to one call. `retry` may succeed later, `gone` never. */
export type PostResult =
  | { readonly kind: "ok" }
  | { readonly kind: "gone" }
  | {
      readonly kind: "retry";
      readonly reason: string;
      /** The gateway has had too many calls: all of them had better come slower. Default false. */
      readonly isThrottled?: boolean;
    }
  | { readonly kind: "failed"; readonly reason: string };

/** How often calls that take too long are looked for, in milliseconds. */
const SWEEP_MS = 250;
/** How long a connection that nobody uses is kept, in milliseconds. */
const KEEP_ALIVE_MS = 20_000;
/** How long the reason of a status quotes the same page, in milliseconds. If each page has its own id, a report would have many reasons. */
const PAGE_MS = 60_000;
/** A clock that differs by more is put right, in milliseconds. AWS refuses signatures of five minutes ago. */
const SKEW_MS = 60_000;

/**
 * API Gateway's Management API as we use it. Bring your own to send another way, as tests in one process do.
 *
 * `endpoint` is the base of the API with its stage, such as `https://abc.execute-api.eu-west-1.amazonaws.com/prod`.
 */
export interface ManagementApi {
  /**
   * What has to be had before a call can start at once, such as credentials; undefined when nothing has to. Awaited before a
   * recipient is judged for the last time. Default: nothing.
   */
  ready?(endpoint: string): Promise<unknown> | undefined;
  /** Sends a frame to a socket. */
  post(endpoint: string, connectionId: string, frame: string): Promise<PostResult>;
  /** Closes a socket. The client sees 1000. */
  delete(endpoint: string, connectionId: string): Promise<PostResult>;
  /** Looks whether a connection exists. Default: every connection is taken to exist. */
  get?(endpoint: string, connectionId: string): Promise<PostResult>;
  close(): Promise<void>;
}

export interface ManagementApiOptions {
  /** Who calls AWS. Default: what the environment says. */
  readonly credentials?: CredentialProvider | AwsCredentials | undefined;
  /** Where an endpoint of a domain of your own is. Default: as an endpoint of AWS's says, or AWS_REGION. */
  readonly region?: string | undefined;
  /** No call may take longer, from its connection to the last byte of its answer, in milliseconds. Default 10 000. */
  readonly timeoutMs?: number;
}

const JSON_TYPE = { "content-type": "application/json" };

/** Where calls to an endpoint go, and what signs them. */
interface Endpoint {
  readonly connections: HttpClients;
  readonly host: string;
  /** For messages, without the id of a connection. */
  readonly url: string;
  /** What comes before a connection's id in the path. */
  readonly prefix: string;
  /** Undefined for a gateway on this machine, which asks for no signature. */
  readonly region: string | undefined;
  /** By status, the latest answers that did not come from API Gateway. */
  readonly pages: Map<number, Page>;
}

/** The beginning of a page that a proxy or load balancer answered with. */
interface Page {
  readonly excerpt: string;
  /** By `performance.now()`. */
  readonly at: number;
}

interface Call {
  readonly method: "POST" | "DELETE" | "GET";
  readonly to: Endpoint;
  readonly path: string;
  readonly body: string | undefined;
}

/**
 * The Management API over kept connections, its calls signed. Each call has a connection of its own: none waits where nobody
 * judges it again.
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
  readonly #underWay = new FreeList<Exchange>();
  #signedBy: AwsCredentials | undefined;
  #sweeper: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** By how much AWS's clock is ahead of ours, in milliseconds. */
  #skew = 0;

  /** @param load loads the client that sends. Default: the one that works on this runtime */
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
      // What is wrong with them is said by the call.
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
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
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
      // They come too late for this turn: whoever judged the recipient does so again.
      return credentials.then(() => ({ kind: "retry", reason: "credentials had ended" }), unsigned);
    } catch (error) {
      return Promise.resolve(unsigned(error));
    }
  }

  #signed({ method, to, path, body }: Call, credentials: AwsCredentials): Record<string, string> {
    const contentType = body === undefined ? undefined : JSON_TYPE["content-type"];
    const signer = this.#signer(to.region ?? "", credentials);
    return signer.sign(
      { method, host: to.host, path, body: body ?? "", contentType },
      Date.now() + this.#skew,
    );
  }

  #dispatch({ method, to, path, body }: Call, headers: Record<string, string>): Promise<PostResult> {
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
    return new Promise((resolve) => {
      const client = to.connections.take();
      const call = new Exchange((answer) => {
        this.#underWay.remove(slot);
        to.connections.give(client);
        resolve(answer instanceof Error ? unanswered(answer) : this.#resultOf(answer, to));
      });
      const slot = this.#underWay.add(call);
      try {
        client.dispatch({ method, path, headers, body: body ?? null }, call);
      } catch (error) {
        call.abort(error as Error);
      }
    });
  }

  #sweep(): void {
    const overdue = performance.now() - this.#timeoutMs;
    for (const call of this.#underWay) if (call.startedAt <= overdue) call.abort(new Error("timeout"));
    if (!this.#underWay.isEmpty) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #endpoint(endpoint: string): Endpoint {
    return this.#endpoints.get(endpoint) ?? this.#open(endpoint);
  }

  #open(endpoint: string): Endpoint {
    const url = new URL(endpoint);
    let connections = this.#hosts.get(url.origin);
    if (!connections) {
      if (!this.#Client) throw new Error("ready() has not been awaited");
      connections = new HttpClients(this.#Client, url.origin, {
        connectTimeout: this.#timeoutMs,
        headersTimeout: 0,
        bodyTimeout: 0,
        keepAliveTimeout: KEEP_ALIVE_MS,
        maxHeaderSize: 16_384,
      });
      this.#hosts.set(url.origin, connections);
    }
    // A gateway on this machine asks for no signature; whoever names both has its calls signed all the same.
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

  #resultOf(answer: Answer, to: Endpoint): PostResult {
    const { status, date } = answer;
    if (status >= 200 && status < 300) return { kind: "ok" };
    if (status === 410 && !isForeign(answer)) return { kind: "gone" };
    const reason = reasonOf(answer, to);
    if (status === 429) return { kind: "retry", reason, isThrottled: true };
    if (status >= 500) return { kind: "retry", reason };
    if (status === 403 && to.region !== undefined && this.#isSkewed(date)) {
      return { kind: "retry", reason: `${reason}: this machine's clock is wrong` };
    }
    return { kind: "failed", reason };
  }

  /** Whether a refused signature was made by a clock that was wrong, which is put right. */
  #isSkewed(date: string | undefined): boolean {
    const theirs = date === undefined ? Number.NaN : Date.parse(date);
    const skew = theirs - Date.now();
    if (!(Math.abs(skew - this.#skew) > SKEW_MS)) return false;
    this.#skew = skew;
    return true;
  }
}

/**
 * Returns true for the page of a proxy or load balancer. API Gateway sends the header `x-amzn-errortype` with an error, and emulators
 * without it send JSON or an empty body.
 */
function isForeign({ errorType, body }: Answer): boolean {
  return errorType === undefined && foreignExcerpt(body) !== undefined;
}

/** Returns what an error is reported as. An error of API Gateway is JSON, and a page of something in between is quoted. */
function reasonOf({ status, errorType, body }: Answer, { url, pages }: Endpoint): string {
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

/** A provider may have credentials the next time; an environment without any will not. */
function unsigned(error: unknown): PostResult {
  const isHopeless = error instanceof DeliveryError && !(error instanceof CredentialsError);
  return { kind: isHopeless ? "failed" : "retry", reason: (error as Error).message };
}

/** A call without an answer: nobody knows whether it arrived. */
function unanswered(error: Error): PostResult {
  return { kind: "retry", reason: (error as { code?: string }).code ?? error.message };
}

function regionOf(hostname: string, given: string | undefined): string {
  const found = regionOfHost(hostname) ?? given ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
  if (found) return found;
  throw new DeliveryError(
    `The host ${hostname} does not contain an AWS region, and requests must be signed for one. Set apiGateway: { region } or AWS_REGION.`,
    { code: "SALLYPORT_CREDENTIALS", status: 500 },
  );
}
