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
import { ConformanceBackend, type Recorded, type Wanted, type WantedOfConnect } from "./backend.ts";

/** The URL of a real API; undefined where the suite runs against a gateway of its own. */
const REAL = process.env.SALLYPORT_AWS_URL;

/** Signs for the local gateway, which checks. */
export const LOCAL_KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" };

/** Ids as AWS makes them. */
export const ID = /^[A-Za-z0-9_-]{15}=$/;

/** A well-formed id that nobody has. */
export const NOBODY = "L0SM9cOFvHcCIhw=";

/**
 * A case that only the gateway on this machine can play.
 *
 * @param needs what it takes, which is why it is skipped elsewhere
 */
export function onDesk(name: string, needs: string, play: () => Promise<void>): void {
  test(
    name,
    REAL === undefined ? play : ({ skip }) => skip(`It needs ${needs}: only the local gateway has it.`),
  );
}

/** A gateway, this machine's or AWS's, before the suite's backend. */
export interface Desk {
  /** Where sockets connect to. */
  readonly url: string;
  /** Base of the Management API. */
  readonly endpoint: string;
  /** AWS's id of the API. */
  readonly apiId: string;
  readonly stage: string;
  /** The gateway itself, where it is on this machine. */
  readonly local: LocalGateway;
  /** Origin of the backend, as this process reaches it. */
  readonly backend: string;
}

/** What a client connects to. */
export type Place = Pick<Desk, "url" | "backend">;

/** @param options of the local gateway; a case that gives any, or none as `{}`, is for it alone */
export async function openDesk(options?: Partial<LocalGatewayOptions>, behind?: string): Promise<Desk> {
  if (REAL !== undefined && options === undefined) return realDesk(REAL);
  const backend = behind ?? (await openBackend());
  const single = { target: `${backend}/ws`, routes: { custom: `${backend}/ws/custom` } };
  const setUp = { port: 0, credentials: LOCAL_KEY, ...(options?.apis ? {} : single), ...options };
  const local = await startLocalGateway(setUp);
  onTestFinished(() => local.close());
  const { url, endpoint, apiId, stage } = local;
  return { url, endpoint, apiId, stage, local, backend };
}

function realDesk(address: string): Desk {
  const backend = process.env.SALLYPORT_AWS_BACKEND;
  if (backend === undefined)
    throw new Error("SALLYPORT_AWS_BACKEND is not set: where the suite's backend is reached.");
  const url = new URL(address);
  return {
    url: address,
    endpoint: `${url.protocol === "wss:" ? "https" : "http"}://${url.host}${url.pathname}`,
    apiId: process.env.SALLYPORT_AWS_API_ID ?? url.host.split(".")[0] ?? "",
    stage: url.pathname.slice(1),
    get local(): LocalGateway {
      throw new Error("A case that needs the local gateway is declared with onDesk().");
    },
    backend: backend.replace(/\/$/, ""),
  };
}

/** A backend for APIs that a case makes itself. @returns its origin */
export async function openBackend(): Promise<string> {
  const backend = await ConformanceBackend.start();
  onTestFinished(() => backend.close());
  return backend.origin;
}

/** A route to the suite's backend, which is told the connection's id. */
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
 * A desk whose messages time out soon, unless they go to the route `custom`. Its connects and disconnects have as long as AWS gives
 * them, however busy the machine is.
 */
export async function openImpatientDesk({ timeoutMs = 50, routeResponse = true } = {}): Promise<Desk> {
  const backend = await openBackend();
  const parameters = { "integration.request.header.x-sallyport-request-id": "context.requestId" };
  const routes = {
    $connect: route(backend, "connect"),
    $disconnect: route(backend, "disconnect"),
    $default: route(backend, "default", { parameters, timeoutMs, routeResponse }),
    custom: route(backend, "custom", { routeResponse }),
  };
  return openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
}

/** What a client's query says: what `$connect` is to be answered, and whatever else. */
export type Query = WantedOfConnect & Readonly<Record<string, string | number>>;

export interface Offered {
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

export interface Connected {
  readonly client: Client;
  /** The calls so far that belong to this client. */
  calls(): Promise<readonly Recorded[]>;
  /** Their kinds, in the order in which they arrived. */
  kinds(): Promise<readonly string[]>;
  /** A call of a kind, once there are as many. */
  called(kind: string, count?: number): Promise<Recorded>;
  /** The same, once it has been answered. */
  answered(kind: string, count?: number): Promise<Recorded>;
  /** Lets the backend send the answers that it holds. */
  release(): Promise<void>;
}

/** A client on its way, whose `$connect` is answered as its query says. */
export function connect({ url, backend }: Place, query: Query = {}, offered: Offered = {}): Connected {
  const name = randomBytes(8).toString("hex");
  const whole = new URL(url);
  for (const [key, value] of Object.entries({ case: name, ...query }))
    whole.searchParams.append(key, `${value}`);
  // `ws` takes several values of a name, which its types do not know.
  const headers = { ...offered.headers } as Record<string, string>;
  const client = new Client(whole.href, [...(offered.protocols ?? [])], { headers });
  onTestFinished(() => client.socket.terminate());
  const one = async (kind: string, count: number, more = "") => {
    const calls = await callsOf(backend, name, `?kind=${kind}&count=${count}${more}`);
    const found = calls.filter((call) => call.kind === kind)[count - 1];
    if (found) return found;
    throw new Error(
      `No ${kind} came; there were ${calls.map((call) => call.kind).join(", ") || "no calls"}.`,
    );
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

/** The same, once its socket is open. */
export async function connected(...given: Parameters<typeof connect>): Promise<Connected> {
  const arrived = connect(...given);
  await arrived.client.opened;
  return arrived;
}

/** What a handshake is answered: 101, or what stands in its place. */
export function handshake(...given: Parameters<typeof connect>): Promise<HttpAnswer> {
  return upgradeOf(connect(...given).client);
}

/** The same of a client that is on its way. */
export function upgradeOf({ socket }: Client): Promise<HttpAnswer> {
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

/** What a backend recorded of a case or connection. @param query what to wait for */
export async function callsOf(backend: string, name: string, query = ""): Promise<readonly Recorded[]> {
  const answer = await fetch(`${backend}/calls/${encodeURIComponent(name)}${query}`);
  return (await answer.json()) as readonly Recorded[];
}

/** Lets the backend send the answers of a case that it holds. */
export async function release(backend: string, name: string): Promise<void> {
  await fetch(`${backend}/release/${encodeURIComponent(name)}`, { method: "POST" });
}

/** Sends a message that is to be answered so. */
export function say({ client }: Connected, answer: Wanted, fields: object = {}): void {
  client.socket.send(JSON.stringify({ ...fields, answer }));
}

/** Sends a message and waits for its answer, so that whatever came before has come. */
export async function echo(arrived: Connected, body: string, fields: object = {}): Promise<string> {
  say(arrived, { body }, fields);
  return arrived.client.text();
}

/** Writes bytes to a client's socket as they are, past its framing. */
export function write(arrived: Connected, bytes: Buffer): void {
  socketOf(arrived).write(bytes);
}

/** Resets a client's connection, as a machine does that knows nothing of it any more. */
export function reset(arrived: Connected): void {
  socketOf(arrived).resetAndDestroy();
}

function socketOf({ client }: Connected): Socket {
  return (client.socket as unknown as { readonly _socket: Socket })._socket;
}

/** A header of a recorded call, whatever its case. */
export function headerOf({ rawHeaders }: Pick<Recorded, "rawHeaders">, name: string): string | undefined {
  const at = rawHeaders.findIndex(
    (header, index) => index % 2 === 0 && header.toLowerCase() === name.toLowerCase(),
  );
  return at < 0 ? undefined : rawHeaders[at + 1];
}

/** Names of a call's headers, in lower case. */
export function headerNames({ rawHeaders }: Pick<Recorded, "rawHeaders">): readonly string[] {
  return rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
}

/** Query of a call. */
export function queryOf({ url }: Recorded): URLSearchParams {
  return new URL(url, "http://backend").searchParams;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

/** A request to the gateway's host as it is given, unsigned. */
export function http(
  endpoint: string,
  method: string,
  path: string,
  { headers = {}, body }: { headers?: OutgoingHttpHeaders; body?: string | Buffer } = {},
): Promise<HttpAnswer> {
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

/** Calls the Management API, signed as its caller would. @param path below the endpoint, encoded */
export async function manage(
  { endpoint }: Pick<Desk, "endpoint">,
  method: "POST" | "GET" | "DELETE",
  path: string,
  body: string | Buffer = "",
  host?: string,
): Promise<HttpAnswer> {
  const url = new URL(`${endpoint}${path}`);
  const data = typeof body === "string" ? Buffer.from(body) : body;
  const call = { method, host: host ?? url.host, path: url.pathname, body: data };
  const headers = await bySmithy(regionOf(endpoint), await credentials(), call, Date.now());
  return http(endpoint, method, url.pathname, { headers, body: data });
}

/** A client of AWS's SDK that calls once. */
export async function sdk(
  { endpoint }: Pick<Desk, "endpoint">,
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

/** Path of a connection below a stage. */
export function at(connectionId: string): string {
  return `/@connections/${encodeURIComponent(connectionId)}`;
}

/** A client's connection id, as the backend was told it. */
export async function idOf(arrived: Connected): Promise<string> {
  const id = headerOf(await arrived.called("connect"), "connectionId") ?? "";
  expect(id).toMatch(ID);
  return id;
}

/** Expects an error frame, byte for byte. @returns the request's id in it */
export function expectErrorFrame(frame: string, message: string, connectionId: string): string {
  const { requestId } = JSON.parse(frame) as { requestId: string };
  expect(requestId).toMatch(ID);
  expect(frame).toBe(
    `{"message": "${message}", "connectionId":"${connectionId}", "requestId":"${requestId}"}`,
  );
  return requestId;
}
