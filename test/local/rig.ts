/**
 * Helpers for tests of the local gateway: a backend, a client, and a client that writes raw bytes.
 */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { type ClientOptions, WebSocket } from "ws";
import { type LocalGateway, type LocalGatewayOptions, startLocalGateway } from "../../src/local/emulator.ts";

export interface Call {
  readonly method: string | undefined;
  /** Path and query. */
  readonly url: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
}

export type Behaviour = (call: Call) => Answer | Promise<Answer> | undefined;

/** An HTTP backend that records its calls. By default, it answers 200 without a body. */
export class Backend {
  readonly calls: Call[] = [];
  behaviour: Behaviour;
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  #arrived = () => {};

  constructor(behaviour: Behaviour = () => ({})) {
    this.behaviour = behaviour;
  }

  async start(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  get target(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/ws/chat`;
  }

  to(kind: string): Call[] {
    return this.calls.filter((call) => call.path === `/ws/chat/${kind}`);
  }

  /** Waits for the first call of a kind. */
  async call(kind: string, count = 1): Promise<Call> {
    for (;;) {
      const call = this.to(kind)[count - 1];
      if (call) return call;
      await new Promise<void>((resolve) => {
        const earlier = this.#arrived;
        this.#arrived = () => {
          earlier();
          resolve();
        };
      });
    }
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const url = request.url ?? "";
    const call: Call = {
      method: request.method,
      url,
      path: url.split("?")[0] ?? "",
      headers: request.headers,
      rawHeaders: request.rawHeaders,
      body: Buffer.concat(chunks).toString("utf8"),
    };
    this.calls.push(call);
    this.#arrived();
    this.#arrived = () => {};
    const { status = 200, headers = {}, body = "" } = (await this.behaviour(call)) ?? {};
    response.writeHead(status, headers).end(body);
  }
}

export async function startBackend(behaviour?: Behaviour): Promise<Backend> {
  const backend = await new Backend(behaviour).start();
  onTestFinished(() => backend.stop());
  return backend;
}

export async function startGateway(
  backend: Backend | string,
  options: Partial<LocalGatewayOptions> = {},
): Promise<LocalGateway> {
  const target = typeof backend === "string" ? backend : backend.target;
  const gateway = await startLocalGateway({ target, port: 0, ...options });
  onTestFinished(() => gateway.close());
  return gateway;
}

/** Returns a URL on which nothing listens. */
export async function deadTarget(): Promise<string> {
  const backend = await new Backend().start();
  const { target } = backend;
  backend.stop();
  return target;
}

/** A promise with its resolve function. */
export function deferred<Value>(): { readonly promise: Promise<Value>; resolve(value: Value): void } {
  let resolve: (value: Value) => void = () => {};
  const promise = new Promise<Value>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** A WebSocket client that queues what it receives. */
export class Client {
  readonly socket: WebSocket;
  /** Rejects if the handshake is rejected. */
  readonly opened: Promise<void>;
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #received: { text: string; isBinary: boolean }[] = [];
  readonly #waiting: ((message: { text: string; isBinary: boolean }) => void)[] = [];

  constructor(url: string, protocols: string[] = [], options: ClientOptions = {}) {
    this.socket = new WebSocket(url, protocols, options);
    this.socket.on("error", () => {});
    this.socket.on("message", (data, isBinary) => {
      const message = { text: String(data), isBinary };
      const waiting = this.#waiting.shift();
      if (waiting) waiting(message);
      else this.#received.push(message);
    });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.once("error", reject);
    });
    this.opened.catch(() => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.on("close", (code, reason) => resolve({ code, reason: String(reason) }));
    });
  }

  get unread(): number {
    return this.#received.length;
  }

  async message(): Promise<{ text: string; isBinary: boolean }> {
    return this.#received.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  async text(): Promise<string> {
    return (await this.message()).text;
  }
}

export async function openClient(
  url: string,
  protocols?: string[],
  options?: ClientOptions,
): Promise<Client> {
  const client = new Client(url, protocols, options);
  onTestFinished(() => client.socket.terminate());
  await client.opened;
  return client;
}

/** Returns the status and the body of a rejected upgrade. */
export async function rejectionOf(
  url: string,
  options?: ClientOptions,
): Promise<{ status: number; body: string; headers: IncomingHttpHeaders }> {
  const socket = new WebSocket(url, [], options);
  socket.on("error", () => {});
  onTestFinished(() => socket.terminate());
  const [, response] = (await once(socket, "unexpected-response")) as [unknown, IncomingMessage];
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode ?? 0, body, headers: response.headers };
}

/** A TCP connection to the gateway that writes and reads raw bytes. */
export class RawClient {
  readonly socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
    });
    onTestFinished(() => void this.socket.destroy());
  }

  /** Returns all unread bytes, as soon as `until` is true or the socket has closed. */
  async read(until: (bytes: Buffer) => boolean): Promise<Buffer> {
    while (!until(this.#bytes) && !this.socket.destroyed) {
      await Promise.race([once(this.socket, "data"), once(this.socket, "close")]);
    }
    return this.#bytes;
  }

  /** Returns all bytes until the end of the connection. */
  async readAll(): Promise<Buffer> {
    if (!this.socket.readableEnded && !this.socket.destroyed) await once(this.socket, "close");
    return this.#bytes;
  }

  /** Returns the next frame of the gateway, which must have a length of at most 16 bits. */
  async frame(): Promise<{ fin: boolean; opcode: number; payload: Buffer }> {
    const length = (bytes: Buffer) => {
      const short = (bytes[1] ?? 0) & 0x7f;
      return short < 126 ? { header: 2, payload: short } : { header: 4, payload: bytes.readUInt16BE(2) };
    };
    const bytes = await this.read((got) => {
      if (got.length < 4)
        return got.length >= 2 && ((got[1] ?? 0) & 0x7f) < 126 && got.length >= 2 + (got[1] ?? 0);
      const { header, payload } = length(got);
      return got.length >= header + payload;
    });
    const { header, payload } = length(bytes);
    this.#bytes = bytes.subarray(header + payload);
    const first = bytes[0] ?? 0;
    return {
      fin: (first & 0x80) !== 0,
      opcode: first & 0x0f,
      payload: bytes.subarray(header, header + payload),
    };
  }

  /** Sends an upgrade request. */
  upgrade(path: string, headers: readonly string[] = [], host = "localhost"): void {
    const lines = [
      `GET ${path} HTTP/1.1`,
      `Host: ${host}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
      ...headers,
    ];
    this.socket.write(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  }

  /** Waits for the head of the response and removes it from the unread bytes. */
  async head(): Promise<string> {
    const bytes = await this.read((got) => got.includes("\r\n\r\n"));
    const end = bytes.indexOf("\r\n\r\n") + 4;
    this.#bytes = bytes.subarray(end);
    return bytes.subarray(0, end).toString("latin1");
  }
}

export async function openRaw(gateway: LocalGateway): Promise<RawClient> {
  const raw = new RawClient(gateway.port);
  raw.upgrade(`/${gateway.stage}`);
  await raw.head();
  return raw;
}

interface FrameOptions {
  readonly opcode?: number;
  readonly fin?: boolean;
}

/** Returns a masked frame, as a client sends it. */
export function frameOf(payload: Buffer | string, { opcode = 1, fin = true }: FrameOptions = {}): Buffer {
  const data = Buffer.from(payload);
  const mask = randomBytes(4);
  const first = (fin ? 0x80 : 0) | opcode;
  let header: Buffer;
  if (data.length < 126) header = Buffer.from([first, 0x80 | data.length]);
  else if (data.length < 65_536) {
    header = Buffer.from([first, 0x80 | 126, 0, 0]);
    header.writeUInt16BE(data.length, 2);
  } else {
    header = Buffer.alloc(10);
    header.set([first, 0x80 | 127]);
    header.writeBigUInt64BE(BigInt(data.length), 2);
  }
  const masked = data.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return Buffer.concat([header, mask, masked]);
}
