import { randomBytes } from "node:crypto";
import { request as httpRequest, type OutgoingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import {
  type LocalGateway,
  type LocalGatewayOptions,
  startLocalGateway,
} from "../../../src/local/emulator.ts";
import { Client } from "../../local/rig.ts";
import { bySmithy } from "../by-smithy.ts";
import { ConformanceBackend, type Recorded, type Wanted } from "./backend.ts";

const REAL = process.env.SALLYPORT_AWS_URL;

/** A case that only the gateway on this machine can play: it takes a clock, another API, or a backend that is not there. */
export const onDesk: typeof test = REAL === undefined ? test : (test.skip as typeof test);

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
  /** Base URL of the backend, as this process reaches it. */
  readonly backend: string;
}

/** Signs for the local gateway, which checks. */
const LOCAL_KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" };

/** @param options of the local gateway; a case that gives any is for it alone */
export async function openDesk(options?: Partial<LocalGatewayOptions>): Promise<Desk> {
  if (REAL !== undefined && options === undefined) {
    const url = new URL(REAL);
    const backend = process.env.SALLYPORT_AWS_BACKEND;
    if (backend === undefined)
      throw new Error("SALLYPORT_AWS_BACKEND is not set: where the suite's backend is reached.");
    return {
      url: REAL,
      endpoint: `${url.protocol === "wss:" ? "https" : "http"}://${url.host}${url.pathname}`,
      apiId: url.host.split(".")[0] ?? "",
      stage: url.pathname.slice(1),
      local: undefined as never,
      backend,
    };
  }
  const backend = await ConformanceBackend.start();
  onTestFinished(() => backend.close());
  const target = options?.apis
    ? {}
    : { target: `${backend.origin}/ws`, routes: { custom: `${backend.origin}/ws/custom` } };
  const local = await startLocalGateway({ port: 0, credentials: LOCAL_KEY, ...target, ...options });
  onTestFinished(() => local.close());
  return {
    url: local.url,
    endpoint: local.endpoint,
    apiId: local.apiId,
    stage: local.stage,
    local,
    backend: backend.origin,
  };
}

/** A backend alone, for APIs that a case makes itself. */
export async function openBackend(): Promise<ConformanceBackend> {
  const backend = await ConformanceBackend.start();
  onTestFinished(() => backend.close());
  return backend;
}

export interface Connected {
  readonly client: Client;
  /** The calls so far that belong to this client. */
  calls(): Promise<readonly Recorded[]>;
  /** The calls of a kind, once there are as many. */
  called(kind: string, count?: number): Promise<Recorded>;
}

/** A client whose `$connect` is answered as it says itself. */
export function arriving(
  { url, backend }: Pick<Desk, "url" | "backend">,
  answer: Wanted = {},
  {
    query = {},
    protocols = [],
    headers = {},
  }: { query?: Record<string, string>; protocols?: string[]; headers?: Record<string, string> } = {},
): Connected {
  const name = randomBytes(8).toString("hex");
  const whole = new URL(url);
  whole.searchParams.set("case", name);
  if (Object.keys(answer).length > 0) whole.searchParams.set("answer", JSON.stringify(answer));
  for (const [key, value] of Object.entries(query)) whole.searchParams.set(key, value);
  const client = new Client(whole.href, protocols, { headers });
  onTestFinished(() => client.socket.terminate());
  const calls = async () => (await (await fetch(`${backend}/calls/${name}`)).json()) as readonly Recorded[];
  return {
    client,
    calls,
    called: async (kind, count = 1) => {
      for (let tries = 0; tries < 400; tries++) {
        const found = (await calls()).filter((call) => call.kind === kind)[count - 1];
        if (found) return found;
        await sleep(10);
      }
      throw new Error(`no ${kind} came`);
    },
  };
}

/** The same, once its socket is open. */
export async function connected(...given: Parameters<typeof arriving>): Promise<Connected> {
  const arrived = arriving(...given);
  await arrived.client.opened;
  return arrived;
}

/** The status with which a handshake is refused; 101 where it is not. */
export async function handshake(...given: Parameters<typeof arriving>): Promise<number> {
  const { client } = arriving(...given);
  return client.opened.then(
    () => 101,
    (error: Error) => Number(/(\d{3})$/.exec(error.message)?.[1] ?? 0),
  );
}

/** Sends a message that is to be answered so. */
export function say({ client }: Connected, answer: Wanted, fields: object = {}): void {
  client.socket.send(JSON.stringify({ ...fields, answer }));
}

/** A header of a recorded call, whatever its case. */
export function headerOf({ rawHeaders }: Recorded, name: string): string | undefined {
  const at = rawHeaders.findIndex(
    (header, index) => index % 2 === 0 && header.toLowerCase() === name.toLowerCase(),
  );
  return at < 0 ? undefined : rawHeaders[at + 1];
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
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
    const request = send({ hostname, port, method, path, headers }, async (response) => {
      let text = "";
      for await (const chunk of response) text += chunk;
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Calls the Management API, signed as its caller would. @param id as it is put into the path, encoded */
export async function manage(
  { endpoint }: Pick<Desk, "endpoint">,
  method: "POST" | "GET" | "DELETE",
  path: string,
  body: string | Buffer = "",
  host?: string,
): Promise<HttpAnswer> {
  const url = new URL(`${endpoint}${path}`);
  const key =
    REAL === undefined
      ? LOCAL_KEY
      : {
          accessKeyId: process.env.AWS_ACCESS_KEY_ID ?? "",
          secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY ?? "",
          ...(process.env.AWS_SESSION_TOKEN ? { sessionToken: process.env.AWS_SESSION_TOKEN } : {}),
        };
  const region = /execute-api\.([a-z0-9-]+)\./.exec(url.host)?.[1] ?? "eu-west-1";
  const data = typeof body === "string" ? Buffer.from(body) : body;
  const call = { method, host: host ?? url.host, path: url.pathname, body: data };
  const headers = await bySmithy(region, key, call, Date.now());
  return http(endpoint, method, url.pathname, { headers, body: data });
}

/** Path of a connection below a stage. */
export function at(connectionId: string): string {
  return `/@connections/${encodeURIComponent(connectionId)}`;
}

/** A client's connection id, as the backend was told it. */
export async function idOf(client: Connected): Promise<string> {
  const id = headerOf(await client.called("connect"), "connectionId");
  expect(id).toMatch(/^[A-Za-z0-9_-]{15}=$/);
  return id ?? "";
}
