import { setTimeout as sleep } from "node:timers/promises";
import { ARRIVAL_MS } from "../protocol/quotas.ts";
import { Lane } from "./lane.ts";
import type { ManagementApi, PostResult } from "./management-api.ts";
import type { SendingBounds } from "./options.ts";
import { Rate } from "./rate.ts";
import { Slots } from "./slots.ts";

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

interface PostOptions {
  readonly urgent?: boolean;
  readonly stillPermitted?: StillPermitted;
}

/** What goes to one gateway. */
interface Way {
  readonly lane: Lane;
  /** Where the last post to each connection is that has one. */
  readonly last: Map<string, number>;
}

/** A call that is to be made, perhaps more than once. */
interface Post {
  readonly recipient: Recipient;
  /** Undefined closes the socket. */
  readonly frame: string | undefined;
  readonly options: PostOptions;
  /** Settles when it has its outcome. */
  outcome: Promise<Outcome> | undefined;
  /** The gateway's answer while a call is under way. */
  answered: Promise<PostResult> | undefined;
}

/** Brings decided messages to their sockets: in a pace, in order for each connection, urgent ones first. */
export class Delivery {
  readonly #api: ManagementApi;
  readonly #concurrency: number;
  readonly #rate: Rate;
  readonly #ways = new Map<string, Way>();
  readonly #posts = new Slots<Post>();

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
    return this.#inOrder(recipient, frame, options);
  }

  /** Closes the recipient's socket. */
  close(recipient: Recipient, options: PostOptions = {}): Promise<Outcome> {
    return this.#inOrder(recipient, undefined, options);
  }

  /**
   * Whoever has many to post asks before each, so that few wait: undefined when one more would be under way now, or a promise of
   * asking again.
   */
  room(endpoint: string): Promise<void> | undefined {
    return this.#way(endpoint).lane.room();
  }

  /** Resolves when the calls that are under way now to a user, or to anybody, have been answered. */
  async settled(userId?: string): Promise<void> {
    const answers: (Promise<PostResult> | undefined)[] = [];
    for (const { recipient, answered } of this.#posts) {
      if (userId === undefined || recipient.userId === userId) answers.push(answered);
    }
    await Promise.allSettled(answers);
  }

  #way(endpoint: string): Way {
    let way = this.#ways.get(endpoint);
    if (!way) {
      way = { lane: new Lane(this.#rate, this.#concurrency), last: new Map() };
      this.#ways.set(endpoint, way);
    }
    return way;
  }

  /** What was sent to a connection first arrives first, so a call waits for the one before. */
  #inOrder(recipient: Recipient, frame: string | undefined, options: PostOptions): Promise<Outcome> {
    const way = this.#way(recipient.endpoint);
    const post: Post = { recipient, frame, options, outcome: undefined, answered: undefined };
    const before = way.last.get(recipient.connectionId);
    const slot = this.#posts.add(post);
    way.last.set(recipient.connectionId, slot);
    post.outcome = this.#deliver(way, post, slot, before === undefined ? undefined : this.#posts.get(before));
    return post.outcome;
  }

  async #deliver({ lane, last }: Way, post: Post, slot: number, before: Post | undefined): Promise<Outcome> {
    const { recipient, options } = post;
    const { urgent = false, stillPermitted } = options;
    if (before) await before.outcome;
    const begun = Date.now();
    try {
      for (let attempt = 1; ; attempt++) {
        const turn = lane.enter(urgent);
        if (turn) await turn;
        let result: PostResult;
        let isThrottled: boolean | undefined;
        try {
          while (stillPermitted) {
            const answer = stillPermitted(recipient);
            if (answer === true) break;
            if (!(await answer)) return WITHHELD;
          }
          post.answered = this.#call(post);
          result = await post.answered;
          isThrottled = result.kind === "retry" && result.isThrottled === true;
        } catch (error) {
          return { kind: "failed", reason: (error as Error).message };
        } finally {
          post.answered = undefined;
          lane.leave(isThrottled);
        }
        const outcome = outcomeOf(result, recipient, { attempt, urgent, forMs: Date.now() - begun });
        if (outcome) return outcome;
        const stepBack = lane.stepAside();
        await sleep(Math.random() * Math.min(RETRY_BASE_MS * 2 ** attempt, 1000));
        stepBack();
      }
    } finally {
      if (last.get(recipient.connectionId) === slot) last.delete(recipient.connectionId);
      this.#posts.remove(slot);
    }
  }

  #call({ recipient: { endpoint, connectionId }, frame }: Post): Promise<PostResult> {
    return frame === undefined
      ? this.#api.delete(endpoint, connectionId)
      : this.#api.post(endpoint, connectionId, frame);
  }
}

const SENT: Outcome = { kind: "sent" };
const WITHHELD: Outcome = { kind: "withheld" };

/** What an answer means, or undefined when the call is to be made again. */
function outcomeOf(
  result: PostResult,
  { connectedAt }: Recipient,
  tried: { readonly attempt: number; readonly urgent: boolean; readonly forMs: number },
): Outcome | undefined {
  if (result.kind === "ok") return SENT;
  if (result.kind === "failed") return { kind: "failed", reason: result.reason };
  if (result.kind === "gone") {
    // AWS answers 410 until $connect has been answered, so for a row this young it may mean "not yet".
    if (Date.now() - connectedAt > ARRIVAL_MS) return { kind: "gone" };
    return tried.forMs > ARRIVAL_RETRY_MS ? { kind: "failed", reason: "arriving" } : undefined;
  }
  // A gateway that has too many calls will take this one by and by. What is urgent does not wait for it: a socket that does not
  // read its notice is to be closed.
  const isPatient = result.isThrottled === true && !tried.urgent;
  const isGivenUp = isPatient ? tried.forMs > THROTTLED_RETRY_MS : tried.attempt >= ATTEMPTS;
  return isGivenUp ? { kind: "failed", reason: result.reason } : undefined;
}
