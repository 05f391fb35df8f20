import { setTimeout as sleep } from "node:timers/promises";
import { DeliveryError } from "../errors.ts";
import { ARRIVAL_MS, MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import { CONCURRENCY, type ManagementApi, type PostResult } from "./management-api.ts";

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
  /** Not tried, as the send was ended before. */
  readonly unsent: number;
  /** Reason → how many, such as `{ "arriving": 1, "status 500": 2 }`. */
  readonly failures: Readonly<Record<string, number>>;
}

/** Whom a send would reach, were it sent now. The last two sum to the first. */
export interface DeliveryPreview {
  /** Live sessions of the audience. */
  readonly recipients: number;
  readonly permitted: number;
  /** Not permitted to have it at this moment. */
  readonly withheld: number;
}

/** A recipient that has been decided on: where it is, and since when. */
export interface Recipient {
  readonly sessionId: string;
  /** Whose it is; null for somebody who has not signed in. */
  readonly userId: string | null;
  readonly connectionId: string;
  readonly endpoint: string;
  /** Epoch milliseconds. */
  readonly connectedAt: number;
}

export type Outcome =
  | { readonly kind: "sent" }
  | { readonly kind: "gone" }
  | { readonly kind: "withheld" }
  | { readonly kind: "failed"; readonly reason: string };

/**
 * Asked in the last moment before a post starts, and before each further try: the decision may have waited long.
 * A plain `true` starts it in the same turn, so that nothing can come between.
 */
export type StillPermitted = (recipient: Recipient) => true | Promise<boolean>;

const ATTEMPTS = 4;
const RETRY_BASE_MS = 100;
/** How long a 410 for a connection that is still arriving is tried again, in milliseconds. */
const ARRIVAL_RETRY_MS = 3000;

/** JSON once for all recipients. @throws DeliveryError when it is no JSON or over 128 KB */
export function encodeFrame(message: unknown): string {
  let frame: string | undefined;
  try {
    frame = JSON.stringify(message);
  } catch (cause) {
    throw new DeliveryError(`The message cannot become JSON: ${(cause as Error).message}`, {
      code: "SALLYPORT_DELIVERY",
      status: 500,
      cause,
    });
  }
  if (frame === undefined) {
    throw new DeliveryError(`The message cannot become JSON: it is ${typeof message}.`, {
      code: "SALLYPORT_DELIVERY",
      status: 500,
    });
  }
  const bytes = Buffer.byteLength(frame);
  if (bytes > MAX_MESSAGE_BYTES) {
    throw new DeliveryError(
      `The message is ${bytes} bytes as JSON; API Gateway carries at most ${MAX_MESSAGE_BYTES}. Send a pointer and let the client fetch.`,
      { code: "SALLYPORT_TOO_LARGE", status: 500 },
    );
  }
  return frame;
}

/** Brings decided messages to their sockets: a few at a time, in order for each connection, urgent ones first. */
export class Delivery {
  readonly #api: ManagementApi;
  readonly #tails = new Map<string, Promise<unknown>>();
  /** Calls under way, and whose sockets they are for. There are at most {@link CONCURRENCY}. */
  readonly #calls = new Set<{ readonly answered: Promise<unknown>; readonly userId: string | null }>();
  readonly #urgent: (() => void)[] = [];
  readonly #ordinary: (() => void)[] = [];
  #underWay = 0;

  constructor(api: ManagementApi) {
    this.#api = api;
  }

  /**
   * @param options.urgent goes before ordinary sends that still wait for their turn
   * @param options.stillPermitted without it, the decision stands however long the post waits
   */
  post(recipient: Recipient, frame: string, options: PostOptions = {}): Promise<Outcome> {
    return this.#inOrder(recipient, options, () =>
      this.#api.post(recipient.endpoint, recipient.connectionId, frame),
    );
  }

  /** Closes the recipient's socket. */
  close(recipient: Recipient, options: PostOptions = {}): Promise<Outcome> {
    return this.#inOrder(recipient, options, () =>
      this.#api.delete(recipient.endpoint, recipient.connectionId),
    );
  }

  /** Resolves when the calls that are under way now to a user, or to anybody, have been answered. */
  async settled(userId?: string): Promise<void> {
    const calls = [...this.#calls].filter((call) => userId === undefined || call.userId === userId);
    await Promise.allSettled(calls.map(({ answered }) => answered));
  }

  /** What was sent to a connection first arrives first, so a call waits for the one before. */
  #inOrder(recipient: Recipient, options: PostOptions, call: () => Promise<PostResult>): Promise<Outcome> {
    const key = `${recipient.endpoint} ${recipient.connectionId}`;
    const before = this.#tails.get(key);
    const mine = (before ?? Promise.resolve()).then(() => this.#persist(recipient, options, call));
    this.#tails.set(key, mine);
    mine.finally(() => {
      if (this.#tails.get(key) === mine) this.#tails.delete(key);
    });
    return mine;
  }

  async #persist(
    recipient: Recipient,
    options: PostOptions,
    call: () => Promise<PostResult>,
  ): Promise<Outcome> {
    const begun = Date.now();
    for (let attempt = 1; ; attempt++) {
      const result = await this.#inTurn(recipient, options, call);
      if (result.kind === "ok") return { kind: "sent" };
      if (result.kind === "withheld") return result;
      if (result.kind === "failed") return { kind: "failed", reason: result.reason };
      if (result.kind === "gone") {
        // AWS answers 410 until $connect has been answered, so for a row this young it may mean "not yet".
        if (Date.now() - recipient.connectedAt > ARRIVAL_MS) return { kind: "gone" };
        if (Date.now() - begun > ARRIVAL_RETRY_MS) return { kind: "failed", reason: "arriving" };
      } else if (attempt >= ATTEMPTS) {
        return { kind: "failed", reason: result.reason };
      }
      await sleep(Math.random() * Math.min(RETRY_BASE_MS * 2 ** attempt, 1000));
    }
  }

  async #inTurn(
    recipient: Recipient,
    { urgent = false, stillPermitted }: PostOptions,
    call: () => Promise<PostResult>,
  ): Promise<PostResult | { readonly kind: "withheld" }> {
    if (this.#underWay < CONCURRENCY) this.#underWay++;
    // Whoever ends hands its turn on, so nobody can slip in between.
    else await new Promise<void>((resolve) => (urgent ? this.#urgent : this.#ordinary).push(resolve));
    try {
      while (stillPermitted) {
        const answer = stillPermitted(recipient);
        if (answer === true) break;
        if (!(await answer)) return { kind: "withheld" };
      }
      const underWay = { answered: call(), userId: recipient.userId };
      this.#calls.add(underWay);
      try {
        return await underWay.answered;
      } finally {
        this.#calls.delete(underWay);
      }
    } catch (error) {
      return { kind: "failed", reason: (error as Error).message };
    } finally {
      const next = this.#urgent.shift() ?? this.#ordinary.shift();
      if (next) next();
      else this.#underWay--;
    }
  }
}

interface PostOptions {
  readonly urgent?: boolean;
  readonly stillPermitted?: StillPermitted;
}

/** Adds up outcomes into a {@link DeliveryReport}. */
export class DeliveryTally {
  #recipients = 0;
  #sent = 0;
  #gone = 0;
  #withheld = 0;
  #failed = 0;
  readonly #failures = new Map<string, number>();

  /** @returns how many have been withheld so far */
  withhold(): number {
    this.#recipients++;
    return ++this.#withheld;
  }

  count(outcome: Outcome): void {
    this.#recipients++;
    if (outcome.kind === "sent") this.#sent++;
    else if (outcome.kind === "gone") this.#gone++;
    else if (outcome.kind === "withheld") this.#withheld++;
    else {
      this.#failed++;
      this.#failures.set(outcome.reason, (this.#failures.get(outcome.reason) ?? 0) + 1);
    }
  }

  report(): DeliveryReport {
    return {
      recipients: this.#recipients,
      sent: this.#sent,
      gone: this.#gone,
      withheld: this.#withheld,
      failed: this.#failed,
      unsent: 0,
      failures: Object.fromEntries(this.#failures),
    };
  }
}
