import { setTimeout as sleep } from "node:timers/promises";
import { ARRIVAL_MS } from "../protocol/quotas.ts";
import { Lane } from "./lane.ts";
import type { ManagementApi, PostResult } from "./management-api.ts";
import type { SendingBounds } from "./options.ts";
import { Rate } from "./rate.ts";

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
/** How long a call that was one too many is tried again, in milliseconds. */
const THROTTLED_RETRY_MS = 10_000;
/** How long a 410 for a connection that is still arriving is tried again, in milliseconds. */
const ARRIVAL_RETRY_MS = 3000;

/** Posts that a gateway may have waiting, or waiting to be tried again, beside those under way. */
const QUEUE = 64;

/** What goes to one gateway. */
interface Way {
  readonly lane: Lane;
  /** Ordinary posts that have no outcome yet. */
  unfinished: number;
  /** Who waits to hand over more of them. */
  readonly waiting: (() => void)[];
}

interface PostOptions {
  readonly urgent?: boolean;
  readonly stillPermitted?: StillPermitted;
}

/** Brings decided messages to their sockets: in a pace, in order for each connection, urgent ones first. */
export class Delivery {
  readonly #api: ManagementApi;
  readonly #concurrency: number;
  readonly #rate: Rate;
  readonly #ways = new Map<string, Way>();
  readonly #tails = new Map<string, Promise<unknown>>();
  /** Calls under way, and whose sockets they are for. */
  readonly #calls = new Set<{ readonly answered: Promise<unknown>; readonly userId: string | null }>();

  constructor(api: ManagementApi, bounds: SendingBounds) {
    this.#api = api;
    this.#concurrency = bounds.concurrency;
    this.#rate = new Rate(bounds.perSecond);
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

  /**
   * Whoever has many to post asks before each, so that what waits stays few: undefined when there is room for one more now, or a
   * promise of asking again.
   */
  room(endpoint: string): Promise<void> | undefined {
    const way = this.#way(endpoint);
    if (way.unfinished < this.#concurrency + QUEUE) return undefined;
    return new Promise((resolve) => way.waiting.push(resolve));
  }

  /** Resolves when the calls that are under way now to a user, or to anybody, have been answered. */
  async settled(userId?: string): Promise<void> {
    const calls = [...this.#calls].filter((call) => userId === undefined || call.userId === userId);
    await Promise.allSettled(calls.map(({ answered }) => answered));
  }

  #way(endpoint: string): Way {
    let way = this.#ways.get(endpoint);
    if (!way) {
      way = { lane: new Lane(this.#rate, this.#concurrency), unfinished: 0, waiting: [] };
      this.#ways.set(endpoint, way);
    }
    return way;
  }

  /** What was sent to a connection first arrives first, so a call waits for the one before. */
  #inOrder(recipient: Recipient, options: PostOptions, call: () => Promise<PostResult>): Promise<Outcome> {
    const way = this.#way(recipient.endpoint);
    const key = `${recipient.endpoint} ${recipient.connectionId}`;
    const before = this.#tails.get(key);
    const persist = () => this.#persist(way, recipient, options, call);
    const mine = before ? before.then(persist) : persist();
    this.#tails.set(key, mine);
    if (!options.urgent) way.unfinished++;
    mine.finally(() => {
      if (this.#tails.get(key) === mine) this.#tails.delete(key);
      if (options.urgent) return;
      way.unfinished--;
      way.waiting.shift()?.();
    });
    return mine;
  }

  async #persist(
    way: Way,
    recipient: Recipient,
    options: PostOptions,
    call: () => Promise<PostResult>,
  ): Promise<Outcome> {
    const begun = Date.now();
    for (let attempt = 1; ; attempt++) {
      const result = await this.#inTurn(way.lane, recipient, options, call);
      if (result.kind === "ok") return { kind: "sent" };
      if (result.kind === "withheld") return result;
      if (result.kind === "failed") return { kind: "failed", reason: result.reason };
      if (result.kind === "gone") {
        // AWS answers 410 until $connect has been answered, so for a row this young it may mean "not yet".
        if (Date.now() - recipient.connectedAt > ARRIVAL_MS) return { kind: "gone" };
        if (Date.now() - begun > ARRIVAL_RETRY_MS) return { kind: "failed", reason: "arriving" };
      } else {
        // A gateway that has too many calls will take this one by and by. What is urgent does not wait for it: a socket that
        // does not read its notice is to be closed.
        const isPatient = result.isThrottled === true && !options.urgent;
        const isGivenUp = isPatient ? Date.now() - begun > THROTTLED_RETRY_MS : attempt >= ATTEMPTS;
        if (isGivenUp) return { kind: "failed", reason: result.reason };
      }
      await sleep(Math.random() * Math.min(RETRY_BASE_MS * 2 ** attempt, 1000));
    }
  }

  async #inTurn(
    lane: Lane,
    recipient: Recipient,
    { urgent = false, stillPermitted }: PostOptions,
    call: () => Promise<PostResult>,
  ): Promise<PostResult | { readonly kind: "withheld" }> {
    const turn = lane.enter(urgent);
    if (turn) await turn;
    let isThrottled: boolean | undefined;
    try {
      while (stillPermitted) {
        const answer = stillPermitted(recipient);
        if (answer === true) break;
        if (!(await answer)) return { kind: "withheld" };
      }
      const underWay = { answered: call(), userId: recipient.userId };
      this.#calls.add(underWay);
      try {
        const result = await underWay.answered;
        isThrottled = result.kind === "retry" && result.isThrottled === true;
        return result;
      } finally {
        this.#calls.delete(underWay);
      }
    } catch (error) {
      return { kind: "failed", reason: (error as Error).message };
    } finally {
      lane.leave(isThrottled);
    }
  }
}
