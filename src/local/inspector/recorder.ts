import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { GatewayEvent } from "../events.ts";
import type { PostFault } from "../faults.ts";
import type { Stage } from "../stages.ts";
import { decoded, splitUrl } from "../url.ts";
import type { EventDetails, EventSummary } from "./messages.ts";
import { type EventStart, RecordedEvent } from "./recorded-event.ts";

/** The maximum number of recorded events. The oldest one is removed first. */
export const MAX_EVENTS = 500;

/** The maximum size of all recorded events together, in bytes. */
export const MAX_RECORDED_BYTES = 8 * 1024 * 1024;

const MANAGEMENT_PATH = /\/(?:@|%40)connections\/([^/?]+)/;

/** An upgrade request that was rejected before `$connect` was called. */
interface RejectedUpgrade {
  readonly request: IncomingMessage;
  readonly status: number;
  readonly stage: Stage | undefined;
  readonly connectionId?: string;
  /** The time of the request, in epoch milliseconds. */
  readonly at: number;
}

/** A call of the Management API and its answer. */
interface ManagementCall {
  readonly request: IncomingMessage;
  readonly stage: Stage | undefined;
  /** The body, or undefined if it was larger than 128 KB. */
  readonly data: Buffer | undefined;
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: string | undefined;
  /** The simulated fault that caused the answer. */
  readonly fault?: PostFault | undefined;
  /** The time of the request, in epoch milliseconds. */
  readonly at: number;
  readonly tookMs: number;
}

/** Keeps the last events and calls of the Management API, in a bounded amount of memory. */
export class Recorder {
  /** Called after each change of an event. It must not throw. */
  onChange: ((id: number) => void) | undefined;
  readonly #events = new Map<number, RecordedEvent>();
  /** The last size of each event. */
  readonly #bytes = new Map<number, number>();
  #totalBytes = 0;
  #nextId = 1;
  readonly #changed = (event: RecordedEvent) => this.#resize(event);

  /** The id of the oldest event that is kept, or the next id if there is none. */
  get oldestId(): number {
    const [oldest = this.#nextId] = this.#events.keys();
    return oldest;
  }

  /** The recorded events, oldest first. */
  get summaries(): readonly EventSummary[] {
    return [...this.#events.values()].map(({ summary }) => summary);
  }

  /** The estimated size of all events, in bytes. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  findSummary(id: number): EventSummary | undefined {
    return this.#events.get(id)?.summary;
  }

  /** Returns an event with its request and response, or undefined if it is no longer kept. */
  findDetails(id: number): EventDetails | undefined {
    return this.#events.get(id)?.details;
  }

  /** Removes all events. An event in flight is not recorded when it finishes. */
  clear(): void {
    this.#events.clear();
    this.#bytes.clear();
    this.#totalBytes = 0;
  }

  /** Records the begin of an event. Call a method of the result when the event is finished. */
  begin(event: GatewayEvent): RecordedEvent {
    const { kind, routeKey, connection, place, at } = event;
    const start = { kind, routeKey, apiId: place.apiId, stage: place.stage, connectionId: connection.id, at };
    if (event.kind === "message") return this.#add(start, event.body);
    if (event.kind === "connect") return this.#add(start);
    return this.#add({ ...start, note: `${event.ending.code} ${event.ending.reason}`.trimEnd() });
  }

  addRejectedUpgrade({ request, status, stage, connectionId = "", at }: RejectedUpgrade): void {
    const place = { apiId: stage?.apiId ?? "", stage: stage?.name ?? "" };
    const note = splitUrl(request.url ?? "").path;
    const event = this.#add({ kind: "connect", routeKey: "$connect", ...place, connectionId, at, note });
    event.reject("rejected", status);
  }

  /** Records a call of the Management API. Requests with another path are ignored. */
  addManagementCall({ request, stage, data, at, tookMs, ...answer }: ManagementCall): void {
    const { method = "", url = "", rawHeaders } = request;
    const [, id] = MANAGEMENT_PATH.exec(url) ?? [];
    if (id === undefined) return;
    const start: EventStart = {
      kind: "management",
      routeKey: method,
      apiId: stage?.apiId ?? "",
      stage: stage?.name ?? "",
      connectionId: decoded(id).slice(0, 64),
      at,
    };
    const event = this.#add(start, data);
    event.answered({ method, url, headers: rawHeaders }, answer, tookMs);
  }

  #add(start: EventStart, body?: Buffer): RecordedEvent {
    const event = new RecordedEvent(this.#nextId++, start, body, this.#changed);
    this.#events.set(event.id, event);
    if (this.#events.size > MAX_EVENTS) this.#removeOldest();
    this.#resize(event);
    return event;
  }

  #resize(event: RecordedEvent): void {
    if (!this.#events.has(event.id)) return;
    const { bytes } = event;
    this.#totalBytes += bytes - (this.#bytes.get(event.id) ?? 0);
    this.#bytes.set(event.id, bytes);
    while (this.#totalBytes > MAX_RECORDED_BYTES && this.#events.size > 1) this.#removeOldest();
    this.onChange?.(event.id);
  }

  #removeOldest(): void {
    const id = this.oldestId;
    this.#events.delete(id);
    this.#totalBytes -= this.#bytes.get(id) ?? 0;
    this.#bytes.delete(id);
  }
}
