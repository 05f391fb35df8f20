import type { Duplex } from "node:stream";
import { MAX_FRAME_BYTES } from "../protocol/quotas.ts";
import { waitAtMost } from "../timing.ts";
import type { Alarm, Clock } from "./clock.ts";
import { FrameMeter } from "./frame-meter.ts";
import { newId } from "./ids.ts";

/**
 * A network fault of a client. `half-open`: the client lost its network, and the gateway does not
 * know it. `not-reading`: the client does not read, and its buffer is full.
 */
export type NetworkFault = "none" | "half-open" | "not-reading";

/** Time limit for the answer to a close frame, in milliseconds. Then the socket is destroyed. */
export const CLOSE_GRACE_MS = 1_000;

/**
 * Time limit of a client with a full buffer to read a byte, in milliseconds. Then the connection is
 * closed, so that clients that do not read do not fill the memory.
 */
export const UNREAD_MS = 10_000;

/** The maximum number of messages of one client in flight. Further messages wait in the socket. */
const MAX_CONCURRENT_MESSAGES = 64;

/**
 * Time for which `$disconnect` waits for messages in flight, in milliseconds. A request that was
 * written first can arrive second if it needs a new connection to the backend.
 *
 * A slower message is handled at the same time as `$disconnect`, as at AWS.
 */
const MESSAGE_GRACE_MS = 500;

/**
 * The close code and reason of a connection, as `$disconnect` receives them. `reason` can be "".
 */
export interface CloseInfo {
  readonly code: number;
  readonly reason: string;
}

const NOT_READ: CloseInfo = { code: 1008, reason: "The client does not read" };
const FRAME_TOO_LARGE: CloseInfo = { code: 1009, reason: "Frame too large" };
const BINARY: CloseInfo = { code: 1003, reason: "Binary is not supported" };
const GOING_AWAY: CloseInfo = { code: 1001, reason: "Going away" };

/** The used part of a socket of `ws`, so that an app compiles without the types of that package. */
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

/** The result of an authorizer that allowed a connection. */
export interface Authorizer {
  readonly principalId: string;
  /** The duration of the call, in milliseconds. */
  readonly latencyMs: number;
  /** The context as strings, in an object without a prototype. */
  readonly context: Readonly<Record<string, string>>;
}

/** The limits and the callbacks of a connection. */
interface ConnectionOptions {
  readonly idleTimeoutMs: number;
  readonly maxConnectionMs: number;
  /** The number of bytes that can wait for a slow client before posts to it are rejected. */
  readonly maxBufferedBytes: number;
  /** Called for each message. Resolves when the backend has answered. */
  message(data: Buffer): Promise<void>;
  /** Called once, when the connection has ended. */
  ended(closeInfo: CloseInfo): void;
}

/** A client, from its upgrade request to its end. Messages can be posted only while it is open. */
export class Connection {
  readonly id = newId();
  /** Time of the upgrade request, in epoch milliseconds. */
  readonly connectedAt: number;
  /** The remote address of the socket, which a client cannot forge by a header. */
  readonly sourceIp: string;
  readonly userAgent: string | undefined;
  /** The result of the authorizer, or undefined if the route has none. */
  authorizer: Authorizer | undefined;
  readonly #meter = new FrameMeter(MAX_FRAME_BYTES);
  #socket: ClientSocket | undefined;
  readonly #clock: Clock;
  #lastActiveAt: number;
  #closeInfo: CloseInfo | undefined;
  #received = 0;
  #sent = 0;
  #fault: NetworkFault = "none";
  readonly #inFlight = new Set<Promise<void>>();
  #idleAlarm: Alarm | undefined;
  #durationAlarm: Alarm | undefined;
  #lossAlarm: Alarm | undefined;
  /** Set while the buffer is full. */
  #unreadAlarm: Alarm | undefined;
  /** Handles the close of the socket later, because a half-open client must appear as open. */
  #handleClose: (() => void) | undefined;
  #maxBufferedBytes = 0;
  /** The total size of all messages. */
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

  /** Time of the last data frame in either direction, in epoch milliseconds. */
  get lastActiveAt(): number {
    return this.#lastActiveAt;
  }

  /** The number of messages from the client. */
  get receivedCount(): number {
    return this.#received;
  }

  /** The number of messages to the client. */
  get sentCount(): number {
    return this.#sent;
  }

  get fault(): NetworkFault {
    return this.#fault;
  }

  /** Whether the connection is open. A half-open client counts as open. */
  get isOpen(): boolean {
    if (!this.#socket || this.#closeInfo) return false;
    return this.#fault === "half-open" || this.#socket.readyState === this.#socket.OPEN;
  }

  /** Opens the connection on a socket after the upgrade, before any of its bytes are read. */
  open(socket: ClientSocket, stream: Duplex, options: ConnectionOptions): void {
    this.#socket = socket;
    this.#maxBufferedBytes = options.maxBufferedBytes;
    this.#idleAlarm = this.#clock.after(options.idleTimeoutMs, () => this.end(GOING_AWAY));
    this.#durationAlarm = this.#clock.after(options.maxConnectionMs, () => this.end(GOING_AWAY));
    // The meter reads a chunk before `ws`, so an oversized frame is known when its message arrives.
    // The messages before it in the same chunk are still handled.
    stream.prependListener("data", (chunk: Buffer) => {
      if (this.#meter.read(chunk)) this.#touch();
    });
    stream.on("data", () => this.#endAtOversizedFrame());
    socket.on("message", (data, isBinary) => this.#receive(data as Buffer, isBinary, options));
    socket.on("error", (error) => {
      this.#closeInfo ??= closeInfoOf(error);
    });
    socket.on("close", (code, reason) => {
      const handleClose = () => {
        this.#idleAlarm?.cancel();
        this.#durationAlarm?.cancel();
        this.#lossAlarm?.cancel();
        this.#unreadAlarm?.cancel();
        clearTimeout(this.#graceTimer);
        this.#closeInfo ??= clientCloseInfo(code, reason);
        options.ended(this.#closeInfo);
      };
      if (this.isOpen) this.#handleClose = handleClose;
      else handleClose();
    });
  }

  /**
   * Sends a text message, in frames of at most 32 KB.
   *
   * @returns "busy" if the buffer of the client is full, "gone" if the connection is not open
   */
  send(data: Buffer): "sent" | "busy" | "gone" {
    const socket = this.#socket;
    if (!socket || !this.isOpen) return "gone";
    if (this.#fault === "not-reading") return "busy";
    if (socket.bufferedAmount > this.#maxBufferedBytes) {
      this.#watchUnread(socket);
      return "busy";
    }
    this.#touch();
    this.#sent++;
    if (this.#fault === "half-open") return "sent";
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
   * Simulates a network fault of the client.
   *
   * @param noticedAfterMs time until a half-open client is noticed, which ends the connection with
   *   1006, in milliseconds. With undefined, it ends by its timeouts
   * @returns whether the connection is open
   */
  impair(fault: NetworkFault, noticedAfterMs: number | undefined): boolean {
    if (!this.isOpen) return false;
    this.#fault = fault;
    this.#lossAlarm?.cancel();
    const isHalfOpen = fault === "half-open";
    this.#lossAlarm =
      isHalfOpen && noticedAfterMs !== undefined
        ? this.#clock.after(noticedAfterMs, () => this.end({ code: 1006, reason: "" }))
        : undefined;
    if (!isHalfOpen && this.#handleClose) this.#handleClose();
    else this.#readOrPause();
    return this.isOpen;
  }

  /** Resolves when the messages in flight are answered, or have had time to reach the backend. */
  messagesStarted(): Promise<void> {
    return waitAtMost(MESSAGE_GRACE_MS, Promise.allSettled(this.#inFlight));
  }

  /** Closes the connection. Only the first call has an effect. */
  end(closeInfo: CloseInfo): void {
    const socket = this.#socket;
    if (!socket || !this.isOpen) return;
    this.#closeInfo = closeInfo;
    if (this.#fault === "half-open") {
      // A close frame would not reach this client.
      if (this.#handleClose) this.#handleClose();
      else socket.terminate();
      return;
    }
    socket.close(closeInfo.code, closeInfo.reason);
    this.#graceTimer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS);
  }

  /** Closes the connection unless its client reads something in time. */
  #watchUnread(socket: ClientSocket): void {
    if (this.#unreadAlarm) return;
    const readBytes = () => this.#sentBytes - socket.bufferedAmount;
    const before = readBytes();
    this.#unreadAlarm = this.#clock.after(UNREAD_MS, () => {
      this.#unreadAlarm = undefined;
      if (readBytes() <= before) this.end(NOT_READ);
      // Compressed data appears as data that was read, so the buffer can be full again.
      else if (socket.bufferedAmount > this.#maxBufferedBytes) this.#watchUnread(socket);
    });
  }

  #receive(data: Buffer, isBinary: boolean, options: ConnectionOptions): void {
    const index = this.#received++;
    // After decompression, only the total size of several frames is known, not that of each one.
    const isOversized = data.length > this.#meter.takeFrames() * MAX_FRAME_BYTES;
    if (this.#fault === "half-open") return;
    if (!this.isOpen || index >= (this.#meter.oversizedIn ?? Number.POSITIVE_INFINITY)) return;
    if (isOversized || isBinary) {
      this.end(isOversized ? FRAME_TOO_LARGE : BINARY);
      return;
    }
    const answered = options.message(data).finally(() => {
      this.#inFlight.delete(answered);
      if (this.#inFlight.size === MAX_CONCURRENT_MESSAGES - 1) this.#readOrPause();
    });
    this.#inFlight.add(answered);
    if (this.#inFlight.size === MAX_CONCURRENT_MESSAGES) this.#readOrPause();
    this.#endAtOversizedFrame();
  }

  /**
   * Closes the connection when all messages before an oversized frame were received. Compressed
   * messages arrive later than the bytes of the frame.
   */
  #endAtOversizedFrame(): void {
    if (this.#received >= (this.#meter.oversizedIn ?? Number.POSITIVE_INFINITY)) this.end(FRAME_TOO_LARGE);
  }

  /** Pauses reading from a half-open client, so that its close is not noticed. */
  #readOrPause(): void {
    const canRead = this.#fault !== "half-open" && this.#inFlight.size < MAX_CONCURRENT_MESSAGES;
    if (canRead) this.#socket?.resume();
    else this.#socket?.pause();
  }

  #touch(): void {
    this.#lastActiveAt = this.#clock.now();
    if (this.isOpen) this.#idleAlarm?.refresh();
  }
}

function clientCloseInfo(code: number, reason: Buffer): CloseInfo {
  if (code === 1005) return { code, reason: "Client-side close frame status not set" };
  return { code, reason: reason.toString("utf8") };
}

/** Returns the close info of an error for which `ws` closes the socket. */
function closeInfoOf(error: Error & { readonly code?: string }): CloseInfo | undefined {
  if (!error.code?.startsWith("WS_ERR_")) return undefined;
  if (/MESSAGE_LENGTH|DATA_PAYLOAD_LENGTH/.test(error.code))
    return { code: 1009, reason: "Message too large" };
  if (error.code === "WS_ERR_INVALID_UTF8") return { code: 1007, reason: "Invalid UTF-8" };
  return { code: 1002, reason: "Protocol error" };
}

/** The open connections by id. A connection is added when its `$connect` has been answered. */
export class Connections {
  readonly #open = new Map<string, Connection>();
  #onEmpty: (() => void) | undefined;

  get count(): number {
    return this.#open.size;
  }

  get ids(): readonly string[] {
    return [...this.#open.keys()];
  }

  *[Symbol.iterator](): Iterator<Connection> {
    yield* this.#open.values();
  }

  add(connection: Connection): void {
    this.#open.set(connection.id, connection);
  }

  remove(connection: Connection): void {
    this.#open.delete(connection.id);
    if (this.#open.size === 0) this.#onEmpty?.();
  }

  find(id: string): Connection | undefined {
    return this.#open.get(id);
  }

  /** Closes every connection with 1001, and resolves when all of them have ended. */
  async endAll(): Promise<void> {
    for (const connection of this.#open.values()) connection.end(GOING_AWAY);
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }
}
