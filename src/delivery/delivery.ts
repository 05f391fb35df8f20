import { setTimeout as sleep } from "node:timers/promises";
import { SallyportError } from "../errors.ts";
import { ARRIVAL_MS } from "../protocol/quotas.ts";
import { ConnectionQueue, type Waiting } from "./connection-queue.ts";
import { FreeList } from "./free-list.ts";
import type { ManagementApi, PostResult } from "./management-api.ts";
import type { SendingBounds } from "./options.ts";
import { RequestQueue } from "./queue.ts";
import { Rate } from "./rate-limiter.ts";
import { Throttling } from "./throttling.ts";

/** A recipient that has been decided on: where it is, and since when. */
export interface Recipient {
  readonly connectionKey: string;
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
 * A plain `true` starts it in the same turn, so that nothing can come between; after a promise of it the question is asked again.
 */
export type ShouldSend = (recipient: Recipient) => true | Promise<boolean>;

const ATTEMPTS = 4;
const RETRY_BASE_MS = 100;
const MAX_BACKOFF_MS = 1000;
/** How long a call is tried again whose gateway has too many, in milliseconds. */
const THROTTLED_RETRY_MS = 10_000;
/** How often a connection that waits for its turn is checked for being too slow, at most, in milliseconds. */
const TOO_SLOW_CHECK_MS = 250;
/** How long a 410 for a connection that is still arriving is tried again, in milliseconds. */
const ARRIVAL_RETRY_MS = 3000;

/** How long whoever is asked about a recipient in its turn may take, in milliseconds. */
const ANSWER_MS = 6000;

interface PostOptions {
  readonly urgent?: boolean;
  readonly stillPermitted?: ShouldSend;
}

/** What goes to one gateway. */
interface Way {
  readonly lane: RequestQueue;
  readonly rate: Rate;
  readonly throttling: Throttling;
  /** Where the queue of each connection is that has posts. */
  readonly queues: Map<string, number>;
}

/** A call that is to be made, perhaps more than once. */
interface Post {
  readonly recipient: Recipient;
  /** Undefined closes the socket. */
  readonly frame: string | undefined;
  readonly options: PostOptions;
  /** When the connection was opened, by `performance.now()`: a wall clock that is set back would make it younger. */
  readonly connectedAt: number;
  /** Settles when it has its outcome; never rejects. */
  outcome: Promise<Outcome> | undefined;
  /** Settles with the gateway's answer while a call is under way. */
  answered: Promise<PostResult> | undefined;
  /** It was tried as often as may be. */
  isGivenUp: boolean;
}

/** Brings decided messages to their sockets: in a pace, in order for each connection, urgent ones first. */
export class Delivery {
  readonly #api: ManagementApi;
  readonly #concurrency: number;
  readonly #perSecond: number;
  /** Of all endpoints together. */
  readonly #rate: Rate;
  readonly #ways = new Map<string, Way>();
  readonly #queues = new FreeList<ConnectionQueue<Post>>();
  readonly #tooSlow: (recipient: Recipient) => void;
  readonly #posts = new FreeList<Post>();
  #isStopped = false;
  #isShut = false;

  /** @param tooSlow closes a connection whose client does not read. Default: it stays open */
  constructor(
    api: ManagementApi,
    bounds: SendingBounds,
    tooSlow: (recipient: Recipient) => void = () => undefined,
  ) {
    this.#api = api;
    this.#tooSlow = tooSlow;
    this.#concurrency = bounds.concurrency;
    this.#perSecond = bounds.perSecond;
    this.#rate = new Rate(bounds.perSecond);
  }

  /** Nothing goes out any more; whoever has something to send may stop. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /**
   * @param options.urgent goes before whatever waits, to the same connection too: those posts are judged again in their turn
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
   * Waits for the capacity to post one more message. Call it again afterwards.
   *
   * @param connectionId the queue of this connection must have a place too. A connection that does not read is not waited for
   * @param flow what waits in turn with others, such as a user or an audience
   * @returns undefined if there is capacity now
   */
  room(endpoint: string, connectionId = "", flow = ""): Waiting | undefined {
    if (this.#isStopped) return undefined;
    const way = this.#way(endpoint);
    const ready = way.lane.room(flow);
    // A turn of a sender that stopped waiting is passed on.
    return ready ? { ready, leave: () => undefined } : this.#known(way, connectionId)?.place();
  }

  /** Resolves when the calls that are under way now to a user, or to anybody, have been answered. */
  async settled(userId?: string): Promise<void> {
    const answers: (Promise<PostResult> | undefined)[] = [];
    for (const { recipient, answered } of this.#posts) {
      if (userId === undefined || recipient.userId === userId) answers.push(answered);
    }
    await Promise.allSettled(answers);
  }

  /** Starts no ordinary call any more: what waits has failed, as `closed`. What is urgent still goes out. */
  stop(): void {
    this.#isStopped = true;
    for (const { lane } of this.#ways.values()) lane.releaseNormal();
  }

  get isShut(): boolean {
    return this.#isShut;
  }

  /** Starts no call at all any more. */
  shut(): void {
    this.#isShut = true;
  }

  #way(endpoint: string): Way {
    let way = this.#ways.get(endpoint);
    if (!way) {
      const rate = new Rate(this.#perSecond, { within: this.#rate });
      const lane = new RequestQueue(rate, this.#concurrency);
      way = { lane, rate, throttling: new Throttling(rate), queues: new Map() };
      this.#ways.set(endpoint, way);
    }
    return way;
  }

  #known({ queues }: Way, connectionId: string): ConnectionQueue<Post> | undefined {
    const slot = queues.get(connectionId);
    return slot === undefined ? undefined : this.#queues.get(slot);
  }

  #queue(way: Way, connectionId: string): ConnectionQueue<Post> {
    const known = this.#known(way, connectionId);
    if (known) return known;
    const queue = new ConnectionQueue<Post>();
    queue.slot = this.#queues.add(queue);
    way.queues.set(connectionId, queue.slot);
    return queue;
  }

  /** What was sent to a connection first arrives first. Only urgent posts overtake what has not begun. */
  #inOrder(recipient: Recipient, frame: string | undefined, options: PostOptions): Promise<Outcome> {
    const way = this.#way(recipient.endpoint);
    const queue = this.#queue(way, recipient.connectionId);
    const { urgent = false } = options;
    if (!urgent) {
      if (queue.isFull && queue.isStuck && !queue.isTooSlow) {
        if (queue.isRefused && !way.throttling.isAlone(queue.refusals)) return QUEUE_FULL;
        this.#endTooSlow(queue, recipient);
      }
      if (queue.isTooSlow) return Promise.resolve(TOO_SLOW);
    }
    // Urgent posts go before ordinary ones anyway, so each kind waits for its own.
    const before = urgent ? queue.urgent : queue.last;
    const post: Post = {
      recipient,
      frame,
      options,
      connectedAt: performance.now() - (Date.now() - recipient.connectedAt),
      outcome: undefined,
      answered: undefined,
      isGivenUp: false,
    };
    queue.add(post, urgent, frame?.length ?? 0);
    post.outcome = this.#deliver(way, queue, post, before);
    return post.outcome;
  }

  async #deliver(
    way: Way,
    queue: ConnectionQueue<Post>,
    post: Post,
    before: Post | undefined,
  ): Promise<Outcome> {
    const slot = this.#posts.add(post);
    const { urgent = false } = post.options;
    try {
      if (before) {
        const outcome = await before.outcome;
        // The messages behind one that was given up would hold up their senders once more.
        if (before.isGivenUp && outcome?.kind === "failed" && !urgent) {
          post.isGivenUp = true;
          return outcome;
        }
      }
      return await this.#persist(way, queue, post);
    } catch (error) {
      return { kind: "failed", reason: reasonOf(error) };
    } finally {
      this.#posts.remove(slot);
      if (queue.remove(urgent, post.frame?.length ?? 0)) {
        way.queues.delete(post.recipient.connectionId);
        this.#queues.remove(queue.slot);
      }
    }
  }

  async #persist(way: Way, queue: ConnectionQueue<Post>, post: Post): Promise<Outcome> {
    const { lane, rate, throttling } = way;
    const { recipient, options } = post;
    const { urgent = false, stillPermitted } = options;
    let begun: number | undefined;
    for (let attempt = 1; ; attempt++) {
      const isSetAside = !urgent && throttling.isSetAside(queue.refusals);
      if (isSetAside) {
        begun ??= performance.now();
        const late = await this.#enterAside(way, queue, post, begun + THROTTLED_RETRY_MS);
        if (late) return late;
      } else {
        const turn = lane.enter(urgent);
        if (turn) await turn;
      }
      let isThrottled: boolean | undefined;
      let result: PostResult;
      let ms: number | undefined;
      try {
        if (queue.isTooSlow && !urgent) return giveUp(post);
        const ready = this.#api.ready?.(recipient.endpoint);
        if (ready) await ready;
        for (;;) {
          if (isTaken(queue, urgent)) {
            await free(queue, urgent);
            continue;
          }
          const answer = stillPermitted ? stillPermitted(recipient) : true;
          // The call starts in this very turn.
          if (answer === true) break;
          if (!(await inTime(answer))) return WITHHELD;
        }
        if (this.#isShut || (this.#isStopped && !urgent)) return CLOSED;
        const calledAt = performance.now();
        post.answered = this.#call(post);
        queue.calling = post.answered;
        result = await post.answered;
        if (result.kind === "ok" && !urgent) ms = performance.now() - calledAt;
        isThrottled = evidenceOf(result, throttling, queue, urgent);
      } finally {
        if (post.answered && queue.calling === post.answered) queue.calling = undefined;
        post.answered = undefined;
        if (isSetAside) lane.leaveAside(isThrottled);
        else lane.leave(isThrottled, ms);
      }
      if (!urgent && !queue.isTooSlow && throttling.isTooSlow(queue.refusals)) {
        this.#endTooSlow(queue, recipient);
      }
      if (queue.isTooSlow && result.kind === "retry" && !urgent) return giveUp(post);
      begun ??= performance.now();
      // A gateway that has too many calls will accept this one later. What is urgent does not wait: the socket is to be closed.
      const isPatient =
        !urgent &&
        result.kind === "retry" &&
        result.isThrottled === true &&
        (rate.isSlowed || throttling.isSetAside(queue.refusals));
      const outcome = outcomeOf(result, post, { attempt, isPatient, forMs: performance.now() - begun });
      if (outcome) {
        post.isGivenUp = outcome.kind === "failed" && result.kind !== "failed";
        return outcome;
      }
      const isApart = !urgent && throttling.isSetAside(queue.refusals);
      const stepBack = isApart ? undefined : lane.trackRetry();
      await sleep(Math.random() * Math.min(RETRY_BASE_MS * 2 ** attempt, MAX_BACKOFF_MS));
      stepBack?.();
    }
  }

  /**
   * Waits for the turn of a connection that is set aside. The deadlines are checked by time, because turns can be rare.
   *
   * @param until when the post is given up, by `performance.now()`
   * @returns undefined if it is the turn of the post, or its outcome if there was none in time
   */
  async #enterAside(
    { lane, throttling }: Way,
    queue: ConnectionQueue<Post>,
    post: Post,
    until: number,
  ): Promise<Outcome | undefined> {
    for (;;) {
      const leftMs = Math.max(0, until - performance.now());
      const tooSlowInMs = throttling.tooSlowInMs(queue.refusals);
      // Once that time is over, other connections may still recover, so it is looked at again.
      const waitMs = Math.min(leftMs, Math.max(tooSlowInMs, TOO_SLOW_CHECK_MS));
      if ((await lane.enterAside(Math.ceil(waitMs))) ?? true) return undefined;
      if (!queue.isTooSlow && throttling.isTooSlow(queue.refusals)) this.#endTooSlow(queue, post.recipient);
      if (queue.isTooSlow) return giveUp(post);
      if (performance.now() < until) continue;
      post.isGivenUp = true;
      return THROTTLED;
    }
  }

  /** From now on, nothing ordinary goes to the connection any more. */
  #endTooSlow(queue: ConnectionQueue<Post>, recipient: Recipient): void {
    queue.endTooSlow();
    if (!this.#isStopped) this.#tooSlow(recipient);
  }

  #call({ recipient: { endpoint, connectionId }, frame }: Post): Promise<PostResult> {
    return frame === undefined
      ? this.#api.delete(endpoint, connectionId)
      : this.#api.post(endpoint, connectionId, frame);
  }
}

const SENT: Outcome = { kind: "sent" };
const WITHHELD: Outcome = { kind: "withheld" };
const CLOSED: Outcome = { kind: "failed", reason: "closed" };
const THROTTLED: Outcome = { kind: "failed", reason: "status 429" };
const TOO_SLOW: Outcome = { kind: "failed", reason: "slow" };
const QUEUE_FULL: Promise<Outcome> = Promise.resolve({ kind: "failed", reason: "queue full" });

/** The messages behind it are given up too. */
function giveUp(post: Post): Outcome {
  post.isGivenUp = true;
  return TOO_SLOW;
}

/** Counts an answer. @returns whether it is evidence that the endpoint throttles; undefined if it says nothing about that */
function evidenceOf(
  result: PostResult,
  throttling: Throttling,
  queue: ConnectionQueue<Post>,
  urgent: boolean,
): boolean | undefined {
  if (result.kind !== "retry") {
    // A client whose socket is closed, or is gone, has not begun to read.
    throttling.accepted(result.kind === "ok" && !urgent ? queue.refusals : undefined);
    return false;
  }
  const { isThrottled = false } = result;
  return queue.refused((refusals) => {
    if (isThrottled) return throttling.refused(refusals) ? true : undefined;
    throttling.failed(refusals);
    return false;
  });
}

/** What an answer means, or undefined when the call is to be made again. */
function outcomeOf(
  result: PostResult,
  { connectedAt }: Post,
  tried: { readonly attempt: number; readonly isPatient: boolean; readonly forMs: number },
): Outcome | undefined {
  if (result.kind === "ok") return SENT;
  if (result.kind === "failed") return { kind: "failed", reason: result.reason };
  if (result.kind === "gone") {
    // AWS answers 410 until $connect has been answered, so for a row this young it may mean "not yet".
    if (performance.now() - connectedAt > ARRIVAL_MS) return { kind: "gone" };
    return tried.forMs > ARRIVAL_RETRY_MS ? { kind: "failed", reason: "arriving" } : undefined;
  }
  const isGivenUp = tried.isPatient ? tried.forMs > THROTTLED_RETRY_MS : tried.attempt >= ATTEMPTS;
  return isGivenUp ? { kind: "failed", reason: result.reason } : undefined;
}

/** Somebody is asked while a turn is held: silence is no. */
async function inTime(answer: Promise<boolean>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ANSWER_MS);
  });
  try {
    return await Promise.race([answer, silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a call to the connection is in flight, or something urgent is to go before. */
function isTaken(queue: ConnectionQueue<Post>, urgent: boolean): boolean {
  return queue.calling !== undefined || (!urgent && queue.hasUrgent);
}

async function free(queue: ConnectionQueue<Post>, urgent: boolean): Promise<void> {
  while (isTaken(queue, urgent)) {
    await (queue.calling ?? queue.urgent?.outcome)?.catch(() => undefined);
  }
}

/** Whatever an app's own Management API throws. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error).slice(0, 200);
  // The code of our own errors is that of many causes.
  if (error instanceof SallyportError) return error.message;
  return (error as { code?: string }).code ?? error.message;
}
