import { randomBytes } from "node:crypto";
import { request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { ApiGatewayManagementApiClient } from "@aws-sdk/client-apigatewaymanagementapi";
import { defaultProvider } from "@aws-sdk/credential-provider-node";
import { expect, onTestFinished, test } from "vitest";
import {
  type LocalGateway,
  type LocalGatewayOptions,
  type LocalRoute,
  startLocalGateway,
} from "../../../src/local/emulator.ts";
import { Client } from "../../local/rig.ts";
import { bySmithy } from "../by-smithy.ts";
import {
  type AnswerOptions,
  ConformanceBackend,
  type ConnectAnswerOptions,
  type Recorded,
} from "./backend.ts";

/** The URL of a real API. Undefined if the suite runs against a local gateway. */
const REAL = process.env.SALLYPORT_AWS_URL;

/** Signs calls to the local gateway, which verifies signatures. */
export const LOCAL_KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" };

/** Connection ids in the format of AWS. */
export const ID = /^[A-Za-z0-9_-]{15}=$/;

/** A well-formed id without a connection. */
export const UNKNOWN_ID = "L0SM9cOFvHcCIhw=";

/**
 * Defines a test that needs the local gateway.
 *
 * @param needs the required feature, which is the reason to skip the test on AWS
 */
export function testLocally(name: string, needs: string, play: () => Promise<void>): void {
  test(
    name,
    REAL === undefined ? play : ({ skip }) => skip(`It needs ${needs}: only the local gateway has it.`),
  );
}

/** A gateway under test, local or on AWS, in front of the backend of the suite. */
export interface GatewayUnderTest {
  /** WebSocket URL. */
  readonly url: string;
  /** Base URL of the Management API. */
  readonly endpoint: string;
  /** The id of the API. */
  readonly apiId: string;
  readonly stage: string;
  /** The local gateway. Throws if the suite runs against AWS. */
  readonly local: LocalGateway;
  /** Origin of the backend for this process. */
  readonly backend: string;
}

/** What a client needs to connect. */
export type Place = Pick<GatewayUnderTest, "url" | "backend">;

/**
 * Opens the gateway under test.
 *
 * @param options options of the local gateway. A test that passes any, or `{}`, needs a local
 * gateway of its own.
 */
export async function openGateway(
  options?: Partial<LocalGatewayOptions>,
  behind?: string,
): Promise<GatewayUnderTest> {
  if (REAL !== undefined && options === undefined) return awsGateway(REAL);
  const backend = behind ?? (await openBackend());
  const single = { target: `${backend}/ws`, routes: { custom: `${backend}/ws/custom` } };
  const setUp = { port: 0, credentials: LOCAL_KEY, ...(options?.apis ? {} : single), ...options };
  const local = await startLocalGateway(setUp);
  onTestFinished(() => local.close());
  const { url, endpoint, apiId, stage } = local;
  return { url, endpoint, apiId, stage, local, backend };
}

function awsGateway(address: string): GatewayUnderTest {
  const backend = process.env.SALLYPORT_AWS_BACKEND;
  if (backend === undefined)
    throw new Error("SALLYPORT_AWS_BACKEND is not set. Set it to the URL of the suite's backend.");
  const url = new URL(address);
  return {
    url: address,
    endpoint: `${url.protocol === "wss:" ? "https" : "http"}://${url.host}${url.pathname}`,
    apiId: process.env.SALLYPORT_AWS_API_ID ?? url.host.split(".")[0] ?? "",
    stage: url.pathname.slice(1),
    get local(): LocalGateway {
      throw new Error("A test that needs the local gateway must be defined with testLocally().");
    },
    backend: backend.replace(/\/$/, ""),
  };
}

/** Starts a backend for APIs that a test defines, and returns its origin. */
export async function openBackend(): Promise<string> {
  const backend = await ConformanceBackend.start();
  onTestFinished(() => backend.close());
  return backend.origin;
}

/** Returns a route to the backend, with the connection id as a header. */
export function route(
  origin: string,
  kind: string,
  {
    parameters = {},
    timeoutMs = 29_000,
    ...rest
  }: { parameters?: Record<string, string>; timeoutMs?: number } & Omit<LocalRoute, "integration"> = {},
): LocalRoute {
  return {
    integration: {
      type: "HTTP_PROXY",
      uri: `${origin}/ws/${kind}`,
      timeoutMs,
      requestParameters: { "integration.request.header.connectionId": "context.connectionId", ...parameters },
    },
    ...rest,
  };
}

/**
 * Opens a gateway with a short timeout for messages, except on the route `custom`. Connects and
 * disconnects have the timeout of AWS, so that a busy machine does not fail the test.
 */
export async function openGatewayWithShortTimeout({
  timeoutMs = 50,
  routeResponse = true,
} = {}): Promise<GatewayUnderTest> {
  const backend = await openBackend();
  const parameters = { "integration.request.header.x-sallyport-request-id": "context.requestId" };
  const routes = {
    $connect: route(backend, "connect"),
    $disconnect: route(backend, "disconnect"),
    $default: route(backend, "default", { parameters, timeoutMs, routeResponse }),
    custom: route(backend, "custom", { routeResponse }),
  };
  return openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
}

/** Query of a client: how to answer its `$connect`, and further parameters. */
export type Query = ConnectAnswerOptions & Readonly<Record<string, string | number>>;

export interface Offered {
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

export interface Connected {
  readonly client: Client;
  /** Returns the calls of this client so far. */
  calls(): Promise<readonly Recorded[]>;
  /** Returns the kinds of its calls in the order in which they arrived. */
  kinds(): Promise<readonly string[]>;
  /** Returns a call of a kind, as soon as there are `count` of them. */
  called(kind: string, count?: number): Promise<Recorded>;
  /** Returns the same as `called`, after the call was answered. */
  answered(kind: string, count?: number): Promise<Recorded>;
  /** Lets the backend send the answers that it holds. */
  release(): Promise<void>;
}

/** Starts to connect a client. The query contains the answer to its `$connect`. */
export function connect({ url, backend }: Place, query: Query = {}, offered: Offered = {}): Connected {
  const name = randomBytes(8).toString("hex");
  const fullUrl = new URL(url);
  for (const [key, value] of Object.entries({ case: name, ...query }))
    fullUrl.searchParams.append(key, `${value}`);
  // `ws` accepts several values of a header, but its types do not.
  const headers = { ...offered.headers } as Record<string, string>;
  const client = new Client(fullUrl.href, [...(offered.protocols ?? [])], { headers });
  onTestFinished(() => client.socket.terminate());
  const one = async (kind: string, count: number, more = "") => {
    const calls = await callsOf(backend, name, `?kind=${kind}&count=${count}${more}`);
    const found = calls.filter((call) => call.kind === kind)[count - 1];
    if (found) return found;
    throw new Error(`No ${kind} arrived. Calls: ${calls.map((call) => call.kind).join(", ") || "none"}.`);
  };
  return {
    client,
    calls: () => callsOf(backend, name),
    kinds: async () => (await callsOf(backend, name)).map(({ kind }) => kind),
    called: (kind, count = 1) => one(kind, count),
    answered: (kind, count = 1) => one(kind, count, "&answered"),
    release: () => release(backend, name),
  };
}

/** Connects a client and waits until its socket is open. */
export async function connected(...given: Parameters<typeof connect>): Promise<Connected> {
  const connection = connect(...given);
  await connection.client.opened;
  return connection;
}

/** Returns the response to a handshake, with status 101 or an error. */
export function handshake(...given: Parameters<typeof connect>): Promise<HttpResponse> {
  return upgradeOf(connect(...given).client);
}

/** Returns the response to the handshake of a client. */
export function upgradeOf({ socket }: Client): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    socket.once("upgrade", ({ headers, rawHeaders }) => {
      resolve({ status: 101, headers, rawHeaders, body: "" });
    });
    socket.once("unexpected-response", (_request, response) => {
      const { statusCode: status = 0, headers, rawHeaders } = response;
      text(response).then((body) => resolve({ status, headers, rawHeaders, body }), reject);
    });
    socket.once("error", reject);
  });
}

/**
 * Returns the recorded calls of a case or connection.
 *
 * @param query what to wait for
 */
export async function callsOf(backend: string, name: string, query = ""): Promise<readonly Recorded[]> {
  const answer = await fetch(`${backend}/calls/${encodeURIComponent(name)}${query}`);
  return (await answer.json()) as readonly Recorded[];
}

/** Lets the backend send the answers of a case that it holds. */
export async function release(backend: string, name: string): Promise<void> {
  await fetch(`${backend}/release/${encodeURIComponent(name)}`, { method: "POST" });
}

/** Sends a message that contains how to answer it. */
export function sendMessage({ client }: Connected, answer: AnswerOptions, fields: object = {}): void {
  client.socket.send(JSON.stringify({ ...fields, answer }));
}

/** Sends a message and waits for its answer, so that everything before it has arrived. */
export async function echo(connection: Connected, body: string, fields: object = {}): Promise<string> {
  sendMessage(connection, { body }, fields);
  return connection.client.text();
}

/** Writes raw bytes to a client's TCP connection, without framing. */
export function write(connection: Connected, bytes: Buffer): void {
  socketOf(connection).write(bytes);
}

/** Resets a client's TCP connection, as a host does that has lost its state. */
export function reset(connection: Connected): void {
  socketOf(connection).resetAndDestroy();
}

function socketOf({ client }: Connected): Socket {
  return (client.socket as unknown as { readonly _socket: Socket })._socket;
}

/** Returns a header of a recorded call. The letter case does not matter. */
export function headerOf({ rawHeaders }: Pick<Recorded, "rawHeaders">, name: string): string | undefined {
  const at = rawHeaders.findIndex(
    (header, index) => index % 2 === 0 && header.toLowerCase() === name.toLowerCase(),
  );
  return at < 0 ? undefined : rawHeaders[at + 1];
}

/** Returns the header names of a call in lower case. */
export function headerNames({ rawHeaders }: Pick<Recorded, "rawHeaders">): readonly string[] {
  return rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
}

/** Returns the query of a call. */
export function queryOf({ url }: Recorded): URLSearchParams {
  return new URL(url, "http://backend").searchParams;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

/** Sends an unsigned request to the host of the gateway. */
export function http(
  endpoint: string,
  method: string,
  path: string,
  { headers = {}, body }: { headers?: OutgoingHttpHeaders; body?: string | Buffer } = {},
): Promise<HttpResponse> {
  const { protocol, hostname, port } = new URL(endpoint);
  const send = protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const request = send({ hostname, port, method, path, headers }, (response) => {
      const { statusCode: status = 0, headers, rawHeaders } = response;
      text(response).then((body) => resolve({ status, headers, rawHeaders, body }), reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

/**
 * Sends a signed call to the Management API.
 *
 * @param path encoded path below the endpoint
 */
export async function manage(
  { endpoint }: Pick<GatewayUnderTest, "endpoint">,
  method: "POST" | "GET" | "DELETE",
  path: string,
  body: string | Buffer = "",
  host?: string,
): Promise<HttpResponse> {
  const url = new URL(`${endpoint}${path}`);
  const data = typeof body === "string" ? Buffer.from(body) : body;
  const call = { method, host: host ?? url.host, path: url.pathname, body: data };
  const headers = await bySmithy(regionOf(endpoint), await credentials(), call, Date.now());
  return http(endpoint, method, url.pathname, { headers, body: data });
}

/** Returns a client of the AWS SDK that does not retry. */
export async function sdk(
  { endpoint }: Pick<GatewayUnderTest, "endpoint">,
  key?: { readonly accessKeyId: string; readonly secretAccessKey: string },
): Promise<ApiGatewayManagementApiClient> {
  const client = new ApiGatewayManagementApiClient({
    endpoint,
    region: regionOf(endpoint),
    credentials: key ?? (await credentials()),
    maxAttempts: 1,
  });
  onTestFinished(() => client.destroy());
  return client;
}

function credentials() {
  return REAL === undefined ? LOCAL_KEY : defaultProvider()();
}

function regionOf(endpoint: string): string {
  return (
    /\.execute-api\.([a-z0-9-]+)\./.exec(new URL(endpoint).host)?.[1] ?? process.env.AWS_REGION ?? "eu-west-1"
  );
}

/** Returns the path of a connection below a stage. */
export function at(connectionId: string): string {
  return `/@connections/${encodeURIComponent(connectionId)}`;
}

/** Returns the connection id of a client, as the backend received it. */
export async function idOf(connection: Connected): Promise<string> {
  const id = headerOf(await connection.called("connect"), "connectionId") ?? "";
  expect(id).toMatch(ID);
  return id;
}

/** Expects an error frame, byte for byte. Returns the request id in it. */
export function expectErrorFrame(frame: string, message: string, connectionId: string): string {
  const { requestId } = JSON.parse(frame) as { requestId: string };
  expect(requestId).toMatch(ID);
  expect(frame).toBe(
    `{"message": "${message}", "connectionId":"${connectionId}", "requestId":"${requestId}"}`,
  );
  return requestId;
}
