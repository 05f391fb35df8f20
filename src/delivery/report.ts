import { DeliveryError } from "../errors.ts";
import type { Outcome } from "./delivery.ts";

/** The result of a send. `sent`, `gone`, `denied`, `failed` and `unsent` sum to `recipients`. */
export interface DeliveryReport {
  /** Number of open connections in the audience. */
  readonly recipients: number;
  /** Messages that API Gateway accepted. */
  readonly sent: number;
  /** Connections that did not exist any more. Their rows were closed. */
  readonly gone: number;
  /** Recipients without permission for the message. */
  readonly denied: number;
  /** Messages that API Gateway did not accept after retries. `failures` contains the reasons. */
  readonly failed: number;
  /**
   * Recipients without an attempt, because the send was ended first. In a progress report, messages
   * in flight.
   */
  readonly unsent: number;
  /** Number of failed messages by reason, such as `{ "arriving": 1, "status 500": 2 }`. */
  readonly failures: Readonly<Record<string, number>>;
  /**
   * The position after which an ended send can continue. Pass it as `after`. `null` if the send is
   * complete.
   */
  readonly cursor: string | null;
}

/** The recipients that a send would have now. `permitted` and `denied` sum to `recipients`. */
export interface DeliveryPreview {
  /** Number of open connections in the audience. */
  readonly recipients: number;
  /** Recipients that would receive the message. */
  readonly permitted: number;
  /** Recipients without permission for the message. */
  readonly denied: number;
}

/**
 * Thrown by `send()` if an error, such as a database failure, ends it after the first recipients.
 */
export class SendInterruptedError extends DeliveryError {
  override readonly name: string = "SendInterruptedError";
  /** The result so far. Pass its `cursor` as `after` to continue the send. */
  readonly report: DeliveryReport;

  constructor(report: DeliveryReport, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(
      `The send was interrupted after ${report.recipients} recipients: ${reason.replace(/\.$/, "")}. ` +
        "To continue, call send(message, { after: error.report.cursor }).",
      { code: "SALLYPORT_INTERRUPTED", status: 503, clientMessage: "Temporarily unavailable.", cause },
    );
    this.report = report;
  }
}

/** Adds up the outcomes of posts to a {@link DeliveryReport}. */
export class DeliveryTally {
  /** Posts without an outcome, and recipients without an attempt. */
  #unsent = 0;
  #sent = 0;
  #gone = 0;
  #denied = 0;
  #failed = 0;
  readonly #failures = new Map<string, number>();

  /** Counts a denied recipient. @returns the number of denied recipients so far */
  deny(): number {
    return ++this.#denied;
  }

  /** Counts a post before its outcome. */
  begin(): void {
    this.#unsent++;
  }

  /** Counts recipients without an attempt. */
  leave(count: number): void {
    this.#unsent += count;
  }

  /** Counts the outcome of a post, after {@link begin}. */
  count(outcome: Outcome): void {
    this.#unsent--;
    if (outcome.kind === "sent") this.#sent++;
    else if (outcome.kind === "gone") this.#gone++;
    else if (outcome.kind === "denied") this.#denied++;
    else {
      this.#failed++;
      this.#failures.set(outcome.reason, (this.#failures.get(outcome.reason) ?? 0) + 1);
    }
  }

  /** Returns the report of the posts so far. */
  report(cursor: string | null): DeliveryReport {
    const parts = this.#sent + this.#gone + this.#denied + this.#failed + this.#unsent;
    return {
      recipients: parts,
      sent: this.#sent,
      gone: this.#gone,
      denied: this.#denied,
      failed: this.#failed,
      unsent: this.#unsent,
      failures: Object.fromEntries(this.#failures),
      cursor,
    };
  }
}
