import { FOREIGN_BODY_BYTES } from "../protocol/foreign-body.ts";
import type { CallController, CallHandler } from "./http-clients.ts";

/** The response to one call. */
export interface Answer {
  readonly status: number;
  /** The name of the error at AWS, such as `LimitExceededException`. */
  readonly errorType: string | undefined;
  /** The header `date`; undefined if there is none. */
  readonly date: string | undefined;
  /** The beginning of the body of an error; empty for a success. */
  readonly body: string;
}

/** One call in flight. The body of a success is read and dropped, so that the connection can be used again. */
export class Exchange implements CallHandler {
  readonly startedAt = performance.now();
  #ended: ((answer: Answer | Error) => void) | undefined;
  #controller: CallController | undefined;
  #answer: Omit<Answer, "body"> | undefined;
  #chunks: Uint8Array[] | undefined;
  #bytes = 0;

  constructor(ended: (answer: Answer | Error) => void) {
    this.#ended = ended;
  }

  /** Ends the call at once with an error. A response that arrives later is ignored. */
  abort(error: Error): void {
    const controller = this.#controller;
    this.#end(error);
    controller?.abort(error);
  }

  onRequestStart(controller: CallController): void {
    // The call was aborted before its connection was open.
    if (!this.#ended) controller.abort(new Error("timeout"));
    else this.#controller = controller;
  }

  onResponseStart(
    _controller: CallController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    // AWS can append the address of a description after a colon.
    const [errorType] = /^[A-Za-z]{1,80}/.exec(text(headers["x-amzn-errortype"]) ?? "") ?? [];
    this.#answer = { status, errorType, date: text(headers.date) };
    if (status >= 300) this.#chunks = [];
  }

  onResponseData(_controller: CallController, chunk: Uint8Array): void {
    if (!this.#chunks || this.#bytes >= FOREIGN_BODY_BYTES) return;
    // The chunk may be a part of a buffer that is used again.
    const part = Buffer.from(chunk.subarray(0, FOREIGN_BODY_BYTES - this.#bytes));
    this.#chunks.push(part);
    this.#bytes += part.length;
  }

  onResponseEnd(): void {
    const body = this.#chunks ? Buffer.concat(this.#chunks).toString("utf8") : "";
    this.#end(this.#answer ? { ...this.#answer, body } : new Error("an answer without a status"));
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#end(error);
  }

  /** Only the first call has an effect. */
  #end(answer: Answer | Error): void {
    const ended = this.#ended;
    this.#ended = undefined;
    this.#controller = undefined;
    ended?.(answer);
  }
}

function text(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header.slice(0, 200) : undefined;
}
