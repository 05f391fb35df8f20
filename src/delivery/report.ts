import { DeliveryError } from "../errors.ts";
import type { Outcome } from "./delivery.ts";

/** What became of a send. The last five sum to the first. */
export interface DeliveryReport {
  /** Live sessions of the audience. */
  readonly recipients: number;
  /** Accepted by API Gateway. */
  readonly sent: number;
  /** No longer there; their rows were closed. */
  readonly gone: number;
  /** Not permitted to have it at this moment. */
  readonly withheld: number;
  /** Not accepted after retries; `failures` tells why. */
  readonly failed: number;
  /** Not tried, as the send was ended before; in a progress report, those whose answer is awaited. */
  readonly unsent: number;
  /** Reason → how many, such as `{ "arriving": 1, "status 500": 2 }`. */
  readonly failures: Readonly<Record<string, number>>;
  /** Where a send that was ended goes on: give it as `after`. null when it reached everyone. */
  readonly cursor: string | null;
}

/** Whom a send would reach, were it sent now. The last two sum to the first. */
export interface DeliveryPreview {
  /** Live sessions of the audience. */
  readonly recipients: number;
  readonly permitted: number;
  /** Not permitted to have it at this moment. */
  readonly withheld: number;
}

/** A send broke off half-way: what it was to read, or to write, failed. */
export class SendInterruptedError extends DeliveryError {
  override readonly name: string = "SendInterruptedError";
  /** How far it came. Its `cursor` is where it goes on. */
  readonly report: DeliveryReport;

  constructor(report: DeliveryReport, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(
      `The send broke off after ${report.recipients} recipients: ${why} It goes on with send(message, { after: error.report.cursor }).`,
      { code: "SALLYPORT_INTERRUPTED", status: 503, reply: "Temporarily unavailable.", cause },
    );
    this.report = report;
  }
}

/** Adds up outcomes into a {@link DeliveryReport}. */
export class DeliveryTally {
  /** Posts without an outcome, and recipients that were not tried. */
  #unsent = 0;
  #sent = 0;
  #gone = 0;
  #withheld = 0;
  #failed = 0;
  readonly #failures = new Map<string, number>();

  /** @returns how many have been withheld so far */
  withhold(): number {
    return ++this.#withheld;
  }

  /** Notes a post whose outcome is still to come. */
  begin(): void {
    this.#unsent++;
  }

  /** Notes recipients that were not tried. */
  leave(count: number): void {
    this.#unsent += count;
  }

  /** The outcome of a post that was begun. */
  count(outcome: Outcome): void {
    this.#unsent--;
    if (outcome.kind === "sent") this.#sent++;
    else if (outcome.kind === "gone") this.#gone++;
    else if (outcome.kind === "withheld") this.#withheld++;
    else {
      this.#failed++;
      this.#failures.set(outcome.reason, (this.#failures.get(outcome.reason) ?? 0) + 1);
    }
  }

  report(cursor: string | null): DeliveryReport {
    const parts = this.#sent + this.#gone + this.#withheld + this.#failed + this.#unsent;
    return {
      recipients: parts,
      sent: this.#sent,
      gone: this.#gone,
      withheld: this.#withheld,
      failed: this.#failed,
      unsent: this.#unsent,
      failures: Object.fromEntries(this.#failures),
      cursor,
    };
  }
}
