import type { ApiGatewayV2Client } from "@aws-sdk/client-apigatewayv2";
import type { ClientOptions } from "ws";
import { environmentCredentials } from "../../src/delivery/credentials.ts";
import { bySmithy } from "../aws/by-smithy.ts";
import type { Account } from "./account.ts";
import { Client, type Refusal } from "./client.ts";
import type { Environment } from "./environment.ts";
import type { Command, CommandResult, RecordedEvent } from "./function/commands.ts";
import type { Probe } from "./function/probe.ts";
import { KEY_HEADER, USER_HEADER, VIEW_PATH } from "./names.ts";
import { pause, poll, stopwatch } from "./timing.ts";

/** How long an event may take until the function has recorded it, in milliseconds. */
const EVENT_MS = 30_000;
const CONNECT_ATTEMPTS = 3;
/**
 * Time in which an event usually arrives, in milliseconds. A command during an event would throttle
 * the event. A stand-in of AWS has no such limit.
 */
const SETTLE_MS = process.env.AWS_ENDPOINT_URL === undefined ? 1500 : 50;
/** Time in which a new stage must accept a connection, in milliseconds. AWS documents no limit. */
const SERVED_MS = 60_000;
/** How long a check waits for the `$disconnect` events of its clients, in milliseconds. */
const TIDY_MS = 5000;

export interface ManagementAnswer {
  readonly status: number;
  /** The header `x-amzn-errortype`, or an empty string. */
  readonly errorType: string;
  readonly headers: Headers;
  readonly body: string;
}

/** What the checks use: clients, signed calls of the Management API, and the function. */
export class Bench {
  readonly environment: Environment;
  readonly signal: AbortSignal;
  readonly #account: Account;
  readonly #clients: Client[] = [];
  /** The number of `$disconnect` events that the function has received after the last check. */
  #disconnects = 0;
  #instance: string | undefined;

  constructor(account: Account, environment: Environment, signal: AbortSignal) {
    this.#account = account;
    this.environment = environment;
    this.signal = signal;
  }

  get gateways(): ApiGatewayV2Client {
    return this.#account.gateways;
  }

  pause(ms: number): Promise<void> {
    return pause(ms, this.signal);
  }

  /** Sends a command to the function. @throws Error if AWS has replaced its instance */
  async command(command: Command): Promise<CommandResult> {
    const result = await this.#account.invoke(this.environment.functionName, command);
    this.#instance ??= result.instance;
    if (this.#instance === result.instance) return result;
    throw new Error(
      "AWS replaced the instance of the function, and the database with it. Run the test again.",
    );
  }

  /** Waits until the stage accepts a connection. Returns the milliseconds. */
  async waitUntilServed(): Promise<number> {
    const elapsed = stopwatch();
    const read = async () => {
      const status = await this.status(this.probing({ kind: "status", status: 200 }));
      return status === 101 ? status : undefined;
    };
    await poll("The stage accepts a connection", SERVED_MS, read, { signal: this.signal });
    await this.tidy();
    return elapsed();
  }

  /** Requests a token for a user through the URL of the function. */
  async token(user: string): Promise<string> {
    const { functionUrl, key } = this.environment;
    const response = await fetch(`${functionUrl}/api/ws-token`, {
      method: "POST",
      headers: { [USER_HEADER]: user, [KEY_HEADER]: key, "content-type": "application/json" },
      body: JSON.stringify({ view: VIEW_PATH }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`The token endpoint answered ${response.status}: ${text}`);
    return (JSON.parse(text) as { token: string }).token;
  }

  /** Starts to connect. The query is appended to the URL. */
  start(
    query: Readonly<Record<string, string>>,
    { protocols = [], url = this.environment.url, ...options }: ConnectOptions = {},
  ): Client {
    const full = new URL(url);
    for (const [name, value] of Object.entries(query)) full.searchParams.append(name, value);
    const client = new Client(full.href, protocols, options);
    this.#clients.push(client);
    return client;
  }

  /** Connects without Sallyport, with the answer of a probe to `$connect`. */
  probing(probe: Probe, options?: ConnectOptions): Client {
    return this.start({ probe: JSON.stringify(probe) }, options);
  }

  /** Returns an open connection that Sallyport does not know. Its messages go to the probe route. */
  async raw(options?: ConnectOptions): Promise<Client> {
    return this.#opened(() => this.probing({ kind: "status", status: 200 }, options));
  }

  /** Returns an open connection of a user. */
  async user(
    user: string,
    query: Readonly<Record<string, string>> = {},
    options?: ConnectOptions,
  ): Promise<Client> {
    return this.#opened(async () => this.start({ ...query, ws_token: await this.token(user) }, options));
  }

  /** Returns the status with which a connect is refused, or 101. */
  async status(client: Client): Promise<number> {
    const refusal = await client.refusal;
    return refusal?.status ?? 101;
  }

  /** Returns the events that the function recorded, until one matches. */
  async event(what: string, matches: (event: RecordedEvent) => boolean): Promise<RecordedEvent> {
    await this.pause(SETTLE_MS);
    const read = async () => (await this.command({ kind: "events" })).events.findLast(matches);
    return poll(`event ${what}`, EVENT_MS, read, { signal: this.signal });
  }

  /** Returns the recorded `$connect` of the client with a marker in its query. */
  connectEvent(marker: string): Promise<RecordedEvent> {
    return this.event("$connect", ({ requestContext, queryStringParameters }) => {
      const query = (queryStringParameters ?? {}) as Readonly<Record<string, string>>;
      return requestContext.eventType === "CONNECT" && query.marker === marker;
    });
  }

  /** Returns the latest request of a path that the URL of the function received. */
  request(path: string): Promise<RecordedEvent> {
    return this.event(`POST ${path}`, ({ rawPath }) => rawPath === path);
  }

  /** Returns the recorded `$disconnect` of a connection. */
  disconnectEvent(connectionId: string): Promise<RecordedEvent> {
    return this.event("$disconnect", ({ requestContext }) => {
      return requestContext.eventType === "DISCONNECT" && requestContext.connectionId === connectionId;
    });
  }

  /** Signs and sends a call of the Management API. */
  async manage(
    method: "POST" | "GET" | "DELETE",
    connectionId: string,
    body = "",
    endpoint = this.environment.endpoint,
  ): Promise<ManagementAnswer> {
    const url = new URL(`${endpoint}/@connections/${encodeURIComponent(connectionId)}`);
    const call = { method, host: url.host, path: url.pathname, body };
    const { host: _, ...headers } = await bySmithy(
      this.#account.region,
      await environmentCredentials(),
      call,
      Date.now(),
    );
    const response = await fetch(url, {
      method,
      headers: headers as Record<string, string>,
      ...(method === "POST" ? { body } : {}),
    });
    const errorType = (response.headers.get("x-amzn-errortype") ?? "").split(":")[0] ?? "";
    return { status: response.status, errorType, headers: response.headers, body: await response.text() };
  }

  /**
   * Closes the clients of a check, and waits for their `$disconnect` events. The function has one
   * instance, so an event during another one would be throttled.
   */
  async tidy(): Promise<void> {
    const clients = this.#clients.splice(0);
    for (const { socket } of clients) socket.close();
    const opened = clients.filter(({ hasOpened }) => hasOpened).length;
    if (opened > 0) await this.pause(SETTLE_MS).catch(() => undefined);
    const read = async () => {
      const { disconnects } = await this.command({ kind: "events" });
      return disconnects >= this.#disconnects + opened ? true : undefined;
    };
    // An event can be lost, so a missing one is no error of this check.
    await poll("$disconnect", TIDY_MS, read, { signal: this.signal, everyMs: 100 }).catch(() => undefined);
    const last = await this.command({ kind: "events" }).catch(() => undefined);
    this.#disconnects = last?.disconnects ?? this.#disconnects;
  }

  async #opened(connect: () => Client | Promise<Client>): Promise<Client> {
    let refusal: Refusal | undefined;
    for (let attempt = 1; attempt <= CONNECT_ATTEMPTS; attempt++) {
      const client = await connect();
      refusal = await client.refusal;
      if (refusal === undefined) return client;
      // A busy function is answered with a status of 500 or above.
      if (refusal.status < 500) break;
      await this.pause(1000);
    }
    throw new Error(`The connect was refused with ${refusal?.status}.`);
  }
}

export interface ConnectOptions extends ClientOptions {
  readonly protocols?: readonly string[];
  /** Default: the URL of the stage. */
  readonly url?: string;
}
