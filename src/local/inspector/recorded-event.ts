import type { CallObserver, ReceivedAnswer, SentRequest } from "../call-observer.ts";
import type { FaultPlan, PostFault } from "../faults.ts";
import type { Outcome } from "../integration.ts";
import type {
  CutText,
  EventDetails,
  EventKind,
  EventOutcome,
  EventSummary,
  Header,
  RecordedRequest,
  RecordedResponse,
} from "./messages.ts";

/** The maximum size of a recorded body, in bytes. The rest is cut. */
export const MAX_BODY_BYTES = 16 * 1024;

/** The number of characters of a body in a list of events. */
const PREVIEW_CHARACTERS = 200;

/** Estimate for the objects of an event without its texts, in bytes. */
const BASE_BYTES = 600;

/** What is known of an event when it begins. */
export interface EventStart {
  readonly at: number;
  readonly kind: EventKind;
  readonly routeKey: string;
  readonly apiId: string;
  readonly stage: string;
  readonly connectionId: string;
  /** A text that the list shows instead of the body, such as the close code. Default: none. */
  readonly note?: string;
}

/** The last request, in the form in which it was sent. Its lists are formatted when it is shown. */
type LastRequest =
  | {
      readonly kind: "http";
      readonly method: string;
      readonly url: string;
      readonly headers: readonly string[];
    }
  | { readonly kind: "function"; readonly event: CutText };

/** The answer to a call of the Management API. */
interface ManagementAnswer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly body: string | undefined;
  readonly fault?: PostFault | undefined;
}

type AnswerHeaders = Readonly<Record<string, number | string | readonly string[] | undefined>>;

/**
 * An event in the recorder, which changes until it is answered.
 *
 * Only bodies are copied, because the recorder runs for each message. The rest is formatted when a
 * page shows it.
 */
export class RecordedEvent implements CallObserver {
  readonly id: number;
  readonly #start: EventStart;
  readonly #onChange: (event: RecordedEvent) => void;
  readonly #body: CutText | undefined;
  #outcome: EventOutcome = "pending";
  #status: number | undefined;
  #tookMs: number | undefined;
  #faults: FaultPlan | undefined;
  #postFault: PostFault | undefined;
  #request: LastRequest | undefined;
  #answerHeaders: AnswerHeaders = {};
  /** The body of the answer, or the result of a function. */
  #answer: CutText | undefined;
  #error: string | undefined;

  /**
   * @param body the body of the message, or undefined without one
   * @param onChange called after each change
   */
  constructor(
    id: number,
    start: EventStart,
    body: Buffer | undefined,
    onChange: (event: RecordedEvent) => void,
  ) {
    this.id = id;
    this.#start = start;
    this.#body = body && body.length > 0 ? cutText(body) : undefined;
    this.#onChange = onChange;
  }

  planned(plan: FaultPlan): void {
    if (plan.delayMs > 0 || plan.isDropped || plan.isDoubled || plan.isJoined) {
      this.#faults = plan;
      this.#onChange(this);
    }
  }

  sent(request: SentRequest): void {
    if (request.kind === "function")
      this.#request = { kind: "function", event: cutText(JSON.stringify(request.event)) };
    else {
      const { method, url, headers } = request;
      this.#request = { kind: "http", method, url: url.href, headers };
    }
    this.#onChange(this);
  }

  received(answer: ReceivedAnswer): void {
    if (answer.kind === "function") this.#answer = cutText(JSON.stringify(answer.result) ?? "null");
    else this.#answerHeaders = answer.headers;
  }

  /** Records the outcome of the integration. */
  finish(outcome: Outcome, tookMs: number): void {
    this.#outcome = outcome.kind;
    this.#tookMs = tookMs;
    if (outcome.kind === "answered") {
      this.#status = outcome.status;
      if (!outcome.body) this.#error = "The body of the answer is larger than 128 KB.";
      else if (this.#request?.kind !== "function") this.#answer = cutText(outcome.body);
    } else if (outcome.kind !== "timed out") this.#error = errorText(outcome.error);
    this.#onChange(this);
  }

  /** Records that no integration was called. */
  reject(outcome: "no route" | "throttled" | "rejected", status?: number): void {
    this.#outcome = outcome;
    this.#status = status;
    this.#tookMs = 0;
    this.#onChange(this);
  }

  /** Records the answer to a call of the Management API. */
  answered(
    { method, url, headers }: { method: string; url: string; headers: readonly string[] },
    answer: ManagementAnswer,
    tookMs: number,
  ): void {
    this.#outcome = "answered";
    this.#request = { kind: "http", method, url, headers };
    this.#status = answer.status;
    this.#postFault = answer.fault;
    this.#answerHeaders = answer.headers;
    this.#answer = answer.body === undefined ? undefined : cutText(answer.body);
    this.#tookMs = tookMs;
    this.#onChange(this);
  }

  get summary(): EventSummary {
    const { note, ...start } = this.#start;
    return {
      id: this.id,
      ...start,
      outcome: this.#outcome,
      status: this.#status,
      tookMs: this.#tookMs,
      preview: (note ?? this.#body?.text ?? "").slice(0, PREVIEW_CHARACTERS),
      answerPreview: this.#answer?.text.slice(0, PREVIEW_CHARACTERS) ?? "",
      faults: this.#faults,
      postFault: this.#postFault,
    };
  }

  get details(): EventDetails {
    return {
      ...this.summary,
      request: this.#recordedRequest,
      response: this.#recordedResponse,
      error: this.#error,
    };
  }

  /** An upper estimate of the memory that the event occupies, in bytes. */
  get bytes(): number {
    let characters = (this.#start.note?.length ?? 0) + (this.#error?.length ?? 0);
    characters += (this.#body?.text.length ?? 0) + (this.#answer?.text.length ?? 0);
    for (const name in this.#answerHeaders)
      characters += name.length + String(this.#answerHeaders[name]).length;
    if (this.#request?.kind === "function") characters += this.#request.event.text.length;
    else if (this.#request) {
      characters += this.#request.url.length;
      for (const text of this.#request.headers) characters += text.length;
    }
    return BASE_BYTES + 2 * characters;
  }

  get #recordedRequest(): RecordedRequest | undefined {
    if (this.#request?.kind !== "http") return this.#request;
    return { ...this.#request, headers: pairsOf(this.#request.headers), body: this.#body };
  }

  get #recordedResponse(): RecordedResponse | undefined {
    const status = this.#status;
    if (this.#request?.kind === "function")
      return this.#answer && { status, headers: [], result: this.#answer };
    if (status === undefined) return undefined;
    return { status, headers: headerPairs(this.#answerHeaders), body: this.#answer };
  }
}

/**
 * Returns a text of at most {@link MAX_BODY_BYTES}. It is a copy, because a buffer of a socket can be
 * part of a larger one.
 */
export function cutText(body: Buffer | string): CutText {
  const data = typeof body === "string" && body.length > MAX_BODY_BYTES / 4 ? Buffer.from(body) : body;
  const bytes = typeof data === "string" ? Buffer.byteLength(data) : data.length;
  if (bytes <= MAX_BODY_BYTES || typeof data === "string")
    return { text: data.toString(), bytes, isCut: false };
  // With `stream`, an incomplete character at the end is left out.
  const text = new TextDecoder().decode(data.subarray(0, MAX_BODY_BYTES), { stream: true });
  return { text, bytes, isCut: true };
}

/** Returns pairs of names and values that are in turn. */
function pairsOf(headers: readonly string[]): readonly Header[] {
  const pairs: Header[] = [];
  for (let index = 0; index < headers.length; index += 2)
    pairs.push([headers[index] ?? "", headers[index + 1] ?? ""]);
  return pairs;
}

/** Returns the headers of an object, with one pair for each value. */
function headerPairs(headers: AnswerHeaders): readonly Header[] {
  return Object.entries(headers).flatMap(([name, value]): readonly Header[] => {
    if (typeof value === "object") return value.map((one) => [name, one]);
    return value === undefined ? [] : [[name, String(value)]];
  });
}

function errorText(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.slice(0, MAX_BODY_BYTES);
}
