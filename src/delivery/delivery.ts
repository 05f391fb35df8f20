import { setTimeout as sleep } from "node:timers/promises";
import { SallyportError } from "../errors.ts";
import { ARRIVAL_MS } from "../protocol/quotas.ts";
import { ConnectionQueue, type Waiting } from "./connection-queue.ts";
import { FreeList } from "./in-flight.ts";
import type { ManagementApi, PostResult } from "./management-api.ts";
import type { SendingBounds } from "./options.ts";
import { RequestQueue } from "./queue.ts";
import { Rate, Throttling } from "./rate-limiter.ts";

/** A recipient of a message: its connection and gateway. */
export interface Recipient {
  /** Id of the row of the connection. Empty if there is none. */
  readonly connectionKey: string;
  /** User id, or `null` if the client is not signed in. */
  readonly userId: string | null;
  readonly connectionId: string;
  readonly endpoint: string;
  /** When it connected, in epoch milliseconds. */
  readonly connectedAt: number;
}

/**
 * The outcome of a post or close. `denied`: the recipient lost the permission before the call.
 */
export type Outcome =
  | { readonly kind: "sent" }
  | { readonly kind: "gone" }
  | { readonly kind: "denied" }
  | { readonly kind: "failed"; readonly reason: string };

/**
 * Checks whether a post may start. It is called directly before the first call and before each
 * retry, because a post can wait in the queue for a long time.
 *
 * If it returns `true`, the call starts in the same turn of the event loop. If it returns a promise
 * of `true`, it is called again.
 */
export type ShouldSend = (recipient: Recipient) => true | Promise<boolean>;

/** Maximum number of calls per post, if the gateway does not throttle. */
const ATTEMPTS = 4;
/** Base of the exponential backoff between retries, in milliseconds. */
const RETRY_BASE_MS = 100;
/** Maximum backoff between retries, in milliseconds. */
const MAX_BACKOFF_MS = 1000;
/** How long a call is retried while the gateway throttles, in milliseconds. */
const THROTTLED_RETRY_MS = 10_000;
/** Minimum interval of the check whether a waiting connection is too slow, in milliseconds. */
const TOO_SLOW_CHECK_MS = 250;
/** How long status 410 is retried while the connection may still be opening, in milliseconds. */
const ARRIVAL_RETRY_MS = 3000;

/** Timeout of {@link ShouldSend}, in milliseconds. */
const SHOULD_SEND_TIMEOUT_MS = 6000;

interface PostOptions {
  readonly urgent?: boolean;
  readonly shouldSend?: ShouldSend;
}

/** The state of one gateway endpoint. */
interface EndpointState {
  readonly requests: RequestQueue;
  readonly rate: Rate;
  readonly throttling: Throttling;
  /** Slot of the queue of each connection with posts, by connection id. */
  readonly queues: Map<string, number>;
}

/** A call with its retries. */
interface Post {
  readonly recipient: Recipient;
  /** The text frame, or `undefined` to close the connection. */
  readonly frame: string | undefined;
  readonly options: PostOptions;
  /**
   * When the connection was opened, by `performance.now()`. A wall clock that is set back would
   * make the connection look younger.
   */
  readonly connectedAt: number;
  /** Resolves to the outcome. Never rejects. */
  outcome: Promise<Outcome> | undefined;
  /** The call in flight, or `undefined`. */
  answered: Promise<PostResult> | undefined;
  /** Whether all retries have failed. */
  isGivenUp: boolean;
}

/**
 * Sends messages to connections through the Management API.
 *
 * The rate is limited. Messages to one connection keep their order. Urgent messages are sent first.
 */
export class Delivery {
  readonly #api: ManagementApi;
  readonly #concurrency: number;
  readonly #perSecond: number;
  /** The rate limiter of all endpoints together. */
  readonly #rate: Rate;
  readonly #endpoints = new Map<string, EndpointState>();
  readonly #queues = new FreeList<ConnectionQueue<Post>>();
  readonly #tooSlow: (recipient: Recipient) => void;
  readonly #posts = new FreeList<Post>();
  #isNormalStopped = false;
  #isAllStopped = false;

  /** @param tooSlow closes a connection if its client does not read. Default: it stays open */
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

  /** Whether no more normal messages are sent, because the process shuts down. */
  get isNormalStopped(): boolean {
    return this.#isNormalStopped;
  }

  /**
   * Sends a frame to a recipient.
   *
   * @param options.urgent sends it before all waiting posts, also to the same connection
   * @param options.shouldSend checks the recipient directly before the call. Default: no check
   * @returns the outcome. The promise does not reject
   */
  post(recipient: Recipient, frame: string, options: PostOptions = {}): Promise<Outcome> {
    return this.#enqueue(recipient, frame, options);
  }

  /** Closes the connection of a recipient. The options are those of {@link post}. */
  close(recipient: Recipient, options: PostOptions = {}): Promise<Outcome> {
    return this.#enqueue(recipient, undefined, options);
  }

  /**
   * Waits for the capacity to post one more message. Call it again afterwards.
   *
   * @param connectionId a connection that must have a place in its queue too. It is ignored if its
   *   client does not read
   * @param flow the user or audience that waits. Flows take turns
   * @returns `undefined` if there is capacity now
   */
  waitForCapacity(endpoint: string, connectionId = "", flow = ""): Waiting | undefined {
    if (this.#isNormalStopped) return undefined;
    const state = this.#endpoint(endpoint);
    const ready = state.requests.waitForCapacity(flow);
    // If a sender stops waiting for the endpoint, the next sender gets its turn.
    return ready ? { ready, leave: () => undefined } : this.#findQueue(state, connectionId)?.waitForPlace();
  }

  /**
   * Resolves when the calls that are in flight now have finished.
   *
   * @param userId waits only for calls to the connections of this user. Default: all calls
   */
  async settled(userId?: string): Promise<void> {
    const answers: (Promise<PostResult> | undefined)[] = [];
    for (const { recipient, answered } of this.#posts) {
      if (userId === undefined || recipient.userId === userId) answers.push(answered);
    }
    await Promise.allSettled(answers);
  }

  /**
   * Starts no more normal calls. Waiting posts fail with the reason `closed`. Urgent calls are
   * still made.
   */
  stopNormal(): void {
    this.#isNormalStopped = true;
    for (const { requests } of this.#endpoints.values()) requests.releaseNormal();
  }

  /** Whether no more calls are started at all. */
  get isAllStopped(): boolean {
    return this.#isAllStopped;
  }

  /** Starts no more calls, including urgent calls. */
  stopAll(): void {
    this.#isAllStopped = true;
  }

  #endpoint(endpoint: string): EndpointState {
    let state = this.#endpoints.get(endpoint);
    if (!state) {
      const rate = new Rate(this.#perSecond, { within: this.#rate });
      const requests = new RequestQueue(rate, this.#concurrency);
      state = { requests, rate, throttling: new Throttling(rate), queues: new Map() };
      this.#endpoints.set(endpoint, state);
    }
    return state;
  }

  #findQueue({ queues }: EndpointState, connectionId: string): ConnectionQueue<Post> | undefined {
    const slot = queues.get(connectionId);
    return slot === undefined ? undefined : this.#queues.get(slot);
  }

  #queue(state: EndpointState, connectionId: string): ConnectionQueue<Post> {
    const found = this.#findQueue(state, connectionId);
    if (found) return found;
    const queue = new ConnectionQueue<Post>();
    queue.slot = this.#queues.add(queue);
    state.queues.set(connectionId, queue.slot);
    return queue;
  }

  /**
   * Adds a post to the queue of its connection. Only urgent posts overtake posts that have not
   * started.
   */
  #enqueue(recipient: Recipient, frame: string | undefined, options: PostOptions): Promise<Outcome> {
    const state = this.#endpoint(recipient.endpoint);
    const queue = this.#queue(state, recipient.connectionId);
    const { urgent = false } = options;
    if (!urgent) {
      if (queue.isFull && queue.isStuck && !queue.isTooSlow) {
        if (queue.isRejected && !state.throttling.isAlone(queue.rejections)) return QUEUE_FULL;
        this.#closeTooSlow(queue, recipient);
      }
      if (queue.isTooSlow) return Promise.resolve(TOO_SLOW);
    }
    // Urgent posts overtake normal posts, so each kind waits for the last post of its kind.
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
    post.outcome = this.#deliver(state, queue, post, before);
    return post.outcome;
  }

  async #deliver(
    state: EndpointState,
    queue: ConnectionQueue<Post>,
    post: Post,
    before: Post | undefined,
  ): Promise<Outcome> {
    const slot = this.#posts.add(post);
    const { urgent = false } = post.options;
    try {
      if (before) {
        const outcome = await before.outcome;
        // If the post before was given up, a retry of this one would only delay the sender again.
        if (before.isGivenUp && outcome?.kind === "failed" && !urgent) {
          post.isGivenUp = true;
          return outcome;
        }
      }
      return await this.#callWithRetries(state, queue, post);
    } catch (error) {
      return { kind: "failed", reason: reasonOf(error) };
    } finally {
      this.#posts.remove(slot);
      if (queue.remove(urgent, post.frame?.length ?? 0)) {
        state.queues.delete(post.recipient.connectionId);
        this.#queues.remove(queue.slot);
      }
    }
  }

  async #callWithRetries(state: EndpointState, queue: ConnectionQueue<Post>, post: Post): Promise<Outcome> {
    const { requests, rate, throttling } = state;
    const { recipient, options } = post;
    const { urgent = false, shouldSend } = options;
    let startedAt: number | undefined;
    for (let attempt = 1; ; attempt++) {
      const isSetAside = !urgent && throttling.isSetAside(queue.rejections);
      if (isSetAside) {
        startedAt ??= performance.now();
        const timedOut = await this.#enterAside(state, queue, post, startedAt + THROTTLED_RETRY_MS);
        if (timedOut) return timedOut;
      } else {
        const turn = requests.enter(urgent);
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
          if (isBusy(queue, urgent)) {
            await waitUntilFree(queue, urgent);
            continue;
          }
          const allowed = shouldSend ? shouldSend(recipient) : true;
          // The call must start in this turn of the event loop.
          if (allowed === true) break;
          if (!(await withinTimeout(allowed))) return DENIED;
        }
        if (this.#isAllStopped || (this.#isNormalStopped && !urgent)) return CLOSED;
        const calledAt = performance.now();
        post.answered = this.#call(post);
        queue.calling = post.answered;
        result = await post.answered;
        if (result.kind === "ok" && !urgent) ms = performance.now() - calledAt;
        isThrottled = countResult(result, throttling, queue, urgent);
      } finally {
        if (post.answered && queue.calling === post.answered) queue.calling = undefined;
        post.answered = undefined;
        if (isSetAside) requests.leaveAside(isThrottled);
        else requests.leave(isThrottled, ms);
      }
      if (!urgent && !queue.isTooSlow && throttling.isTooSlow(queue.rejections)) {
        this.#closeTooSlow(queue, recipient);
      }
      if (queue.isTooSlow && result.kind === "retry" && !urgent) return giveUp(post);
      startedAt ??= performance.now();
      // A gateway that throttles accepts the call later. Urgent posts do not wait that long.
      const isPatient =
        !urgent &&
        result.kind === "retry" &&
        result.isThrottled === true &&
        (rate.isSlowed || throttling.isSetAside(queue.rejections));
      const outcome = outcomeOf(result, post, { attempt, isPatient, forMs: performance.now() - startedAt });
      if (outcome) {
        post.isGivenUp = outcome.kind === "failed" && result.kind !== "failed";
        return outcome;
      }
      const isStillAside = !urgent && throttling.isSetAside(queue.rejections);
      const endRetry = isStillAside ? undefined : requests.trackRetry();
      await sleep(Math.random() * Math.min(RETRY_BASE_MS * 2 ** attempt, MAX_BACKOFF_MS));
      endRetry?.();
    }
  }

  /**
   * Waits for the turn of a connection that is set aside. Deadlines are checked by a timer, because
   * turns can be rare.
   *
   * @param until when the post is given up, by `performance.now()`
   * @returns `undefined` when it is the turn of the post, or the outcome after a timeout
   */
  async #enterAside(
    { requests, throttling }: EndpointState,
    queue: ConnectionQueue<Post>,
    post: Post,
    until: number,
  ): Promise<Outcome | undefined> {
    for (;;) {
      const leftMs = Math.max(0, until - performance.now());
      const tooSlowInMs = throttling.tooSlowInMs(queue.rejections);
      // After that time, other connections can still recover, so the check is repeated.
      const waitMs = Math.min(leftMs, Math.max(tooSlowInMs, TOO_SLOW_CHECK_MS));
      if ((await requests.enterAside(Math.ceil(waitMs))) ?? true) return undefined;
      if (!queue.isTooSlow && throttling.isTooSlow(queue.rejections))
        this.#closeTooSlow(queue, post.recipient);
      if (queue.isTooSlow) return giveUp(post);
      if (performance.now() < until) continue;
      post.isGivenUp = true;
      return THROTTLED;
    }
  }

  /** Sends no more normal messages to the connection, and closes it. */
  #closeTooSlow(queue: ConnectionQueue<Post>, recipient: Recipient): void {
    queue.endTooSlow();
    if (!this.#isNormalStopped) this.#tooSlow(recipient);
  }

  #call({ recipient: { endpoint, connectionId }, frame }: Post): Promise<PostResult> {
    return frame === undefined
      ? this.#api.delete(endpoint, connectionId)
      : this.#api.post(endpoint, connectionId, frame);
  }
}

const SENT: Outcome = { kind: "sent" };
const DENIED: Outcome = { kind: "denied" };
const CLOSED: Outcome = { kind: "failed", reason: "closed" };
const THROTTLED: Outcome = { kind: "failed", reason: "status 429" };
const TOO_SLOW: Outcome = { kind: "failed", reason: "slow" };
const QUEUE_FULL: Promise<Outcome> = Promise.resolve({ kind: "failed", reason: "queue full" });

/** Gives up a post. The posts after it are given up too. */
function giveUp(post: Post): Outcome {
  post.isGivenUp = true;
  return TOO_SLOW;
}

/**
 * Counts a result.
 *
 * @returns whether it shows that the endpoint throttles, or `undefined` if it does not show either
 */
function countResult(
  result: PostResult,
  throttling: Throttling,
  queue: ConnectionQueue<Post>,
  urgent: boolean,
): boolean | undefined {
  if (result.kind !== "retry") {
    // A close or a gone connection does not show that the client reads.
    throttling.accepted(result.kind === "ok" && !urgent ? queue.rejections : undefined);
    return false;
  }
  const { isThrottled = false } = result;
  return queue.rejected((rejections) => {
    if (isThrottled) return throttling.rejected(rejections) ? true : undefined;
    throttling.failed(rejections);
    return false;
  });
}

/** Returns the outcome of a result, or `undefined` if the call must be retried. */
function outcomeOf(
  result: PostResult,
  { connectedAt }: Post,
  attempts: { readonly attempt: number; readonly isPatient: boolean; readonly forMs: number },
): Outcome | undefined {
  if (result.kind === "ok") return SENT;
  if (result.kind === "failed") return { kind: "failed", reason: result.reason };
  if (result.kind === "gone") {
    // AWS returns 410 until $connect has finished. For a new row, it can mean "not yet".
    if (performance.now() - connectedAt > ARRIVAL_MS) return { kind: "gone" };
    return attempts.forMs > ARRIVAL_RETRY_MS ? { kind: "failed", reason: "arriving" } : undefined;
  }
  const isGivenUp = attempts.isPatient ? attempts.forMs > THROTTLED_RETRY_MS : attempts.attempt >= ATTEMPTS;
  return isGivenUp ? { kind: "failed", reason: result.reason } : undefined;
}

/** Returns the answer of {@link ShouldSend}. A timeout denies, because the post holds a turn. */
async function withinTimeout(allowed: Promise<boolean>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), SHOULD_SEND_TIMEOUT_MS);
  });
  try {
    return await Promise.race([allowed, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns whether a call to the connection is in flight, or an urgent post must be sent first. */
function isBusy(queue: ConnectionQueue<Post>, urgent: boolean): boolean {
  return queue.calling !== undefined || (!urgent && queue.hasUrgent);
}

async function waitUntilFree(queue: ConnectionQueue<Post>, urgent: boolean): Promise<void> {
  while (isBusy(queue, urgent)) {
    await (queue.calling ?? queue.urgent?.outcome)?.catch(() => undefined);
  }
}

/** Returns the reason of an error, which a custom Management API can have thrown. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error).slice(0, 200);
  // A code of Sallyport has many causes, so the message is more specific.
  if (error instanceof SallyportError) return error.message;
  return (error as { code?: string }).code ?? error.message;
}
