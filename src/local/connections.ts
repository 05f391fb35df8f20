import type { Duplex } from "node:stream";
import { MAX_FRAME_BYTES } from "../protocol/quotas.ts";
import type { Alarm, Clock } from "./clock.ts";
import { FrameMeter } from "./frame-meter.ts";
import { newId } from "./ids.ts";
import type { NetworkFault } from "./network-fault.ts";
import { settledWithin } from "./settled-within.ts";

/** How long a client may take to answer a close frame before the socket is cut. */
export const CLOSE_GRACE_MS = 1_000;

/**
 * How long the buffer of a client can be full without a byte being read, in milliseconds. Then the connection is closed, so that clients
 * that do not read do not fill the memory.
 */
export const UNREAD_MS = 10_000;

/** Messages of one client that may be with the backend at once; further ones wait in the socket. */
const MAX_CONCURRENT_MESSAGES = 64;

/**
 * How long `$disconnect` waits for messages under way. A request written first may still arrive second when it
 * needs a new socket to the backend; a message slower than this runs beside `$disconnect`, as it does at AWS.
 */
const MESSAGE_GRACE_MS = 500;

/** How a connection ended, as `$disconnect` tells it. `reason` is "" where there is none. */
export interface CloseInfo {
  readonly code: number;
  readonly reason: string;
}

const NOT_READ: CloseInfo = { code: 1008, reason: "The client does not read" };
const FRAME_TOO_LARGE: CloseInfo = { code: 1009, reason: "Frame too large" };
const BINARY: CloseInfo = { code: 1003, reason: "Binary is not supported" };
const GOING_AWAY: CloseInfo = { code: 1001, reason: "Going away" };

/** As much of a socket of `ws` as is needed: whoever compiles against the package need not have the types of that one. */
export interface ClientSocket {
  readonly readyState: number;
  readonly OPEN: number;
  readonly bufferedAmount: number;
  on(event: "message", listener: (data: unknown, isBinary: boolean) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "close", listener: (code: number, reason: Buffer) => void): unknown;
  send(data: Buffer, options: { readonly binary: boolean; readonly fin: boolean }): void;
  close(code: number, reason: string): void;
  terminate(): void;
  pause(): void;
  resume(): void;
}

/** What an authorizer said of a client that it let in. */
export interface Authorizer {
  readonly principalId: string;
  /** How long it took. */
  readonly latencyMs: number;
  /** Its context, as texts. Nothing is inherited. */
  readonly context: Readonly<Record<string, string>>;
}

/** What becomes of a connection's life. `message` resolves when the backend has answered. */
interface Life {
  readonly idleTimeoutMs: number;
  readonly maxConnectionMs: number;
  /** Bytes that may wait for a slow client before posts to it are refused. */
  readonly maxBufferedBytes: number;
  message(data: Buffer): Promise<void>;
  ended(ending: CloseInfo): void;
}

/** One client, from the upgrade request to its last byte. Only an open one can be found and posted to. */
export class Connection {
  readonly id = newId();
  /** Epoch milliseconds of the upgrade request. */
  readonly connectedAt: number;
  /** The socket's peer; no header can forge it. */
  readonly sourceIp: string;
  readonly userAgent: string | undefined;
  /** What an authorizer said when it let the client in; undefined where none was asked. */
  authorizer: Authorizer | undefined;
  readonly #meter = new FrameMeter(MAX_FRAME_BYTES);
  #socket: ClientSocket | undefined;
  readonly #clock: Clock;
  #lastActiveAt: number;
  #ending: CloseInfo | undefined;
  #received = 0;
  #impairment: NetworkFault = "none";
  readonly #underWay = new Set<Promise<void>>();
  #idle: Alarm | undefined;
  #longest: Alarm | undefined;
  #lost: Alarm | undefined;
  /** Set while the buffer is full. */
  #unread: Alarm | undefined;
  /** Tells that the socket has closed, which is not seen yet of a half-open client. */
  #tellClosed: (() => void) | undefined;
  #maxBufferedBytes = 0;
  /** Of all messages so far. */
  #sentBytes = 0;
  #graceTimer: NodeJS.Timeout | undefined;

  constructor(client: {
    readonly sourceIp: string;
    readonly userAgent: string | undefined;
    readonly clock: Clock;
  }) {
    this.sourceIp = client.sourceIp;
    this.userAgent = client.userAgent;
    this.#clock = client.clock;
    this.connectedAt = client.clock.now();
    this.#lastActiveAt = this.connectedAt;
  }

  /** Epoch milliseconds of the last data frame either way. */
  get lastActiveAt(): number {
    return this.#lastActiveAt;
  }

  get isOpen(): boolean {
    if (!this.#socket || this.#ending) return false;
    return this.#impairment === "half-open" || this.#socket.readyState === this.#socket.OPEN;
  }

  /** Takes over a socket whose 101 has just been written. Must run before any of its bytes are read. */
  open(socket: ClientSocket, stream: Duplex, life: Life): void {
    this.#socket = socket;
    this.#maxBufferedBytes = life.maxBufferedBytes;
    this.#idle = this.#clock.after(life.idleTimeoutMs, () => this.end(GOING_AWAY));
    this.#longest = this.#clock.after(life.maxConnectionMs, () => this.end(GOING_AWAY));
    // The meter sees a chunk before `ws` does, so an oversized frame is known when its message comes out;
    // the messages ahead of it in the same chunk still count.
    stream.prependListener("data", (chunk: Buffer) => {
      if (this.#meter.read(chunk)) this.#touch();
    });
    stream.on("data", () => this.#endAtOversizedFrame());
    socket.on("message", (data, isBinary) => this.#receive(data as Buffer, isBinary, life));
    socket.on("error", (error) => {
      this.#ending ??= endingOf(error);
    });
    socket.on("close", (code, reason) => {
      const told = () => {
        this.#idle?.cancel();
        this.#longest?.cancel();
        this.#lost?.cancel();
        this.#unread?.cancel();
        clearTimeout(this.#graceTimer);
        this.#ending ??= clientEnding(code, reason);
        life.ended(this.#ending);
      };
      if (this.isOpen) this.#tellClosed = told;
      else told();
    });
  }

  /**
   * Sends one text message, in frames of at most 32 KB.
   *
   * @returns "busy" when too much waits for the client already, "gone" when the connection is not open
   */
  send(data: Buffer): "sent" | "busy" | "gone" {
    const socket = this.#socket;
    if (!socket || !this.isOpen) return "gone";
    if (this.#impairment === "not-reading") return "busy";
    if (socket.bufferedAmount > this.#maxBufferedBytes) {
      this.#watchUnread(socket);
      return "busy";
    }
    this.#touch();
    if (this.#impairment === "half-open") return "sent";
    this.#sentBytes += data.length;
    let start = 0;
    do {
      const end = start + MAX_FRAME_BYTES;
      socket.send(data.subarray(start, end), { binary: false, fin: end >= data.length });
      start = end;
    } while (start < data.length);
    return "sent";
  }

  /**
   * @param noticedAfterMs after how long a half-open client is found out, which ends the connection with 1006; undefined leaves it to time-outs
   * @returns whether it is open
   */
  impair(impairment: NetworkFault, noticedAfterMs: number | undefined): boolean {
    if (!this.isOpen) return false;
    this.#impairment = impairment;
    this.#lost?.cancel();
    const isHalfOpen = impairment === "half-open";
    this.#lost =
      isHalfOpen && noticedAfterMs !== undefined
        ? this.#clock.after(noticedAfterMs, () => this.end({ code: 1006, reason: "" }))
        : undefined;
    if (!isHalfOpen && this.#tellClosed) this.#tellClosed();
    else this.#readOrPause();
    return this.isOpen;
  }

  /** Resolves when the messages under way have been answered, or have had time to reach the backend. */
  messagesStarted(): Promise<void> {
    return settledWithin([...this.#underWay], MESSAGE_GRACE_MS);
  }

  /** Closes the socket from this side. The first ending counts. */
  end(ending: CloseInfo): void {
    const socket = this.#socket;
    if (!socket || !this.isOpen) return;
    this.#ending = ending;
    if (this.#impairment === "half-open") {
      // No frame reaches such a client.
      if (this.#tellClosed) this.#tellClosed();
      else socket.terminate();
      return;
    }
    socket.close(ending.code, ending.reason);
    this.#graceTimer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS);
  }

  /** Closes the connection unless its client has read something after a while. */
  #watchUnread(socket: ClientSocket): void {
    if (this.#unread) return;
    const read = () => this.#sentBytes - socket.bufferedAmount;
    const before = read();
    this.#unread = this.#clock.after(UNREAD_MS, () => {
      this.#unread = undefined;
      if (read() <= before) this.end(NOT_READ);
      // Data that is compressed meanwhile looks like data that was read, so the next sends may find the buffer full again.
      else if (socket.bufferedAmount > this.#maxBufferedBytes) this.#watchUnread(socket);
    });
  }

  #receive(data: Buffer, isBinary: boolean, life: Life): void {
    const index = this.#received++;
    // With several frames, which one is too large cannot be seen after decompression. That one of them is, can.
    const isOversized = data.length > this.#meter.takeFrames() * MAX_FRAME_BYTES;
    if (this.#impairment === "half-open") return;
    if (!this.isOpen || index >= (this.#meter.oversizedIn ?? Number.POSITIVE_INFINITY)) return;
    if (isOversized || isBinary) {
      this.end(isOversized ? FRAME_TOO_LARGE : BINARY);
      return;
    }
    const answered = life.message(data).finally(() => {
      this.#underWay.delete(answered);
      if (this.#underWay.size === MAX_CONCURRENT_MESSAGES - 1) this.#readOrPause();
    });
    this.#underWay.add(answered);
    if (this.#underWay.size === MAX_CONCURRENT_MESSAGES) this.#readOrPause();
    this.#endAtOversizedFrame();
  }

  /** Messages ahead of an oversized frame still count. Those that are compressed come out later than the bytes of the frame. */
  #endAtOversizedFrame(): void {
    if (this.#received >= (this.#meter.oversizedIn ?? Number.POSITIVE_INFINITY)) this.end(FRAME_TOO_LARGE);
  }

  /** Of a half-open client nothing is read, not even that it has left. */
  #readOrPause(): void {
    const isRead = this.#impairment !== "half-open" && this.#underWay.size < MAX_CONCURRENT_MESSAGES;
    if (isRead) this.#socket?.resume();
    else this.#socket?.pause();
  }

  #touch(): void {
    this.#lastActiveAt = this.#clock.now();
    if (this.isOpen) this.#idle?.refresh();
  }
}

function clientEnding(code: number, reason: Buffer): CloseInfo {
  if (code === 1005) return { code, reason: "Client-side close frame status not set" };
  return { code, reason: reason.toString("utf8") };
}

/** What `ws` closes with when it cannot read the client's bytes. */
function endingOf(error: Error & { readonly code?: string }): CloseInfo | undefined {
  if (!error.code?.startsWith("WS_ERR_")) return undefined;
  if (/MESSAGE_LENGTH|DATA_PAYLOAD_LENGTH/.test(error.code))
    return { code: 1009, reason: "Message too large" };
  if (error.code === "WS_ERR_INVALID_UTF8") return { code: 1007, reason: "Invalid UTF-8" };
  return { code: 1002, reason: "Protocol error" };
}

/** The open connections by id. One whose `$connect` is still being answered is not among them. */
export class Connections {
  readonly #open = new Map<string, Connection>();
  #emptied: (() => void) | undefined;

  get count(): number {
    return this.#open.size;
  }

  get ids(): readonly string[] {
    return [...this.#open.keys()];
  }

  add(connection: Connection): void {
    this.#open.set(connection.id, connection);
  }

  remove(connection: Connection): void {
    this.#open.delete(connection.id);
    if (this.#open.size === 0) this.#emptied?.();
  }

  find(id: string): Connection | undefined {
    return this.#open.get(id);
  }

  /** Ends every connection with 1001 and resolves when the last one is gone. */
  async endAll(): Promise<void> {
    for (const connection of this.#open.values()) connection.end(GOING_AWAY);
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#emptied = resolve;
    });
  }
}
