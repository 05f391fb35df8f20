import { FOREIGN_BODY_BYTES } from "../protocol/foreign-body.ts";
import type { CallController, CallHandler } from "./http-clients.ts";

/** The response to one call. */
export interface CallResponse {
  readonly status: number;
  /** Name of the error of AWS, such as `LimitExceededException`. */
  readonly errorType: string | undefined;
  /** Value of the header `date`, or `undefined`. */
  readonly date: string | undefined;
  /** Start of the body of an error. Empty for a success. */
  readonly body: string;
}

/**
 * One call in flight. The body of a success is read and discarded, so that the connection is
 * reusable.
 */
export class Exchange implements CallHandler {
  readonly startedAt = performance.now();
  #onEnd: ((answer: CallResponse | Error) => void) | undefined;
  #controller: CallController | undefined;
  #answer: Omit<CallResponse, "body"> | undefined;
  #chunks: Uint8Array[] | undefined;
  #bytes = 0;

  constructor(onEnd: (answer: CallResponse | Error) => void) {
    this.#onEnd = onEnd;
  }

  /** Ends the call immediately with an error. A later response is ignored. */
  abort(error: Error): void {
    const controller = this.#controller;
    this.#end(error);
    controller?.abort(error);
  }

  onRequestStart(controller: CallController): void {
    // The call was aborted before its connection was open.
    if (!this.#onEnd) controller.abort(new Error("timeout"));
    else this.#controller = controller;
  }

  onResponseStart(
    _controller: CallController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    // AWS can append the URL of a description after a colon.
    const [errorType] = /^[A-Za-z]{1,80}/.exec(headerText(headers["x-amzn-errortype"]) ?? "") ?? [];
    this.#answer = { status, errorType, date: headerText(headers.date) };
    if (status >= 300) this.#chunks = [];
  }

  onResponseData(_controller: CallController, chunk: Uint8Array): void {
    if (!this.#chunks || this.#bytes >= FOREIGN_BODY_BYTES) return;
    // The chunk can be part of a buffer that is reused, so it is copied.
    const part = Buffer.from(chunk.subarray(0, FOREIGN_BODY_BYTES - this.#bytes));
    this.#chunks.push(part);
    this.#bytes += part.length;
  }

  onResponseEnd(): void {
    const body = this.#chunks ? Buffer.concat(this.#chunks).toString("utf8") : "";
    this.#end(this.#answer ? { ...this.#answer, body } : new Error("a response without a status"));
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#end(error);
  }

  /** Ends the call. Only the first end has an effect. */
  #end(answer: CallResponse | Error): void {
    const onEnd = this.#onEnd;
    this.#onEnd = undefined;
    this.#controller = undefined;
    onEnd?.(answer);
  }
}

function headerText(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header.slice(0, 200) : undefined;
}
