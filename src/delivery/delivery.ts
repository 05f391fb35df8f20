import { setTimeout as sleep } from "node:timers/promises";
import { SallyportError } from "../errors.ts";
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
 * A plain `true` starts it in the same turn, so that nothing can come between; after a promise of it the question is asked again.
 */
export type StillPermitted = (recipient: Recipient) => true | Promise<boolean>;

const ATTEMPTS = 4;
const RETRY_BASE_MS = 100;
/** How long a call is tried again whose gateway has too many, in milliseconds. */
const THROTTLED_RETRY_MS = 10_000;
/** How long a 410 for a connection that is still arriving is tried again, in milliseconds. */
const ARRIVAL_RETRY_MS = 3000;

/** How long whoever is asked about a recipient in its turn may take, in milliseconds. */
const ANSWER_MS = 6000;

interface PostOptions {
  readonly urgent?: boolean;
  readonly stillPermitted?: StillPermitted;
}

/** What goes to one gateway. */
interface Way {
  readonly lane: Lane;
  /** Where the line of each connection is that has posts. */
  readonly lines: Map<string, number>;
}

/** The posts to one connection, one after another. */
interface Line {
  slot: number;
  posts: number;
  /** How many of them are urgent. */
  pressing: number;
  /** The last ordinary one, and the last urgent one. */
  last: Post | undefined;
  urgent: Post | undefined;
  /** The call under way. */
  calling: Promise<unknown> | undefined;
}

/** A call that is to be made, perhaps more than once. */
interface Post {
  readonly recipient: Recipient;
  /** Undefined closes the socket. */
  readonly frame: string | undefined;
  readonly options: PostOptions;
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
  readonly #rate: Rate;
  readonly #ways = new Map<string, Way>();
  readonly #lines = new Slots<Line>();
  readonly #posts = new Slots<Post>();
  #isStopped = false;
  #isShut = false;

  constructor(api: ManagementApi, bounds: SendingBounds) {
    this.#api = api;
    this.#concurrency = bounds.concurrency;
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
   * Whoever has many to post asks before each, so that few wait: undefined when one more would be under way now, or a promise of
   * asking again.
   */
  room(endpoint: string): Promise<void> | undefined {
    return this.#isStopped ? undefined : this.#way(endpoint).lane.room();
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
    for (const { lane } of this.#ways.values()) lane.letOrdinaryIn();
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
      way = { lane: new Lane(this.#rate, this.#concurrency), lines: new Map() };
      this.#ways.set(endpoint, way);
    }
    return way;
  }

  #line({ lines }: Way, connectionId: string): Line {
    const slot = lines.get(connectionId);
    const known = slot === undefined ? undefined : this.#lines.get(slot);
    if (known) return known;
    const line: Line = {
      slot: 0,
      posts: 0,
      pressing: 0,
      last: undefined,
      urgent: undefined,
      calling: undefined,
    };
    line.slot = this.#lines.add(line);
    lines.set(connectionId, line.slot);
    return line;
  }

  /** What was sent to a connection first arrives first; only what is urgent overtakes what has not begun. */
  #inOrder(recipient: Recipient, frame: string | undefined, options: PostOptions): Promise<Outcome> {
    const way = this.#way(recipient.endpoint);
    const line = this.#line(way, recipient.connectionId);
    // What is urgent goes before anything ordinary anyway, so each kind waits for its own.
    const before = options.urgent ? line.urgent : line.last;
    const post: Post = {
      recipient,
      frame,
      options,
      outcome: undefined,
      answered: undefined,
      isGivenUp: false,
    };
    line.posts++;
    if (options.urgent) {
      line.pressing++;
      line.urgent = post;
    } else line.last = post;
    post.outcome = this.#deliver(way, line, post, before);
    return post.outcome;
  }

  async #deliver(way: Way, line: Line, post: Post, before: Post | undefined): Promise<Outcome> {
    const slot = this.#posts.add(post);
    try {
      if (before) {
        const outcome = await before.outcome;
        // A socket that takes nothing would hold up whoever sends to it once more for each message.
        if (before.isGivenUp && outcome?.kind === "failed" && !post.options.urgent) {
          post.isGivenUp = true;
          return outcome;
        }
      }
      return await this.#persist(way.lane, line, post);
    } catch (error) {
      return { kind: "failed", reason: reasonOf(error) };
    } finally {
      this.#posts.remove(slot);
      if (post.options.urgent) line.pressing--;
      if (--line.posts === 0) {
        way.lines.delete(post.recipient.connectionId);
        this.#lines.remove(line.slot);
      }
    }
  }

  async #persist(lane: Lane, line: Line, post: Post): Promise<Outcome> {
    const { recipient, options } = post;
    const { urgent = false, stillPermitted } = options;
    let begun: number | undefined;
    for (let attempt = 1; ; attempt++) {
      const turn = lane.enter(urgent);
      if (turn) await turn;
      let isThrottled: boolean | undefined;
      let result: PostResult;
      try {
        const ready = this.#api.ready?.(recipient.endpoint);
        if (ready) await ready;
        for (;;) {
          if (isTaken(line, urgent)) {
            await free(line, urgent);
            continue;
          }
          const answer = stillPermitted ? stillPermitted(recipient) : true;
          // The call starts in this very turn.
          if (answer === true) break;
          if (!(await inTime(answer))) return WITHHELD;
        }
        if (this.#isShut || (this.#isStopped && !urgent)) return CLOSED;
        post.answered = this.#call(post);
        line.calling = post.answered;
        result = await post.answered;
        isThrottled = result.kind === "retry" && result.isThrottled === true;
      } finally {
        if (post.answered && line.calling === post.answered) line.calling = undefined;
        post.answered = undefined;
        lane.leave(isThrottled);
      }
      begun ??= Date.now();
      const isPatient = !urgent && this.#rate.isSlowed;
      const outcome = outcomeOf(result, recipient, { attempt, isPatient, forMs: Date.now() - begun });
      if (outcome) {
        post.isGivenUp = outcome.kind === "failed" && result.kind !== "failed";
        return outcome;
      }
      const stepBack = lane.stepAside();
      await sleep(Math.random() * Math.min(RETRY_BASE_MS * 2 ** attempt, 1000));
      stepBack();
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
const CLOSED: Outcome = { kind: "failed", reason: "closed" };

/** What an answer means, or undefined when the call is to be made again. */
function outcomeOf(
  result: PostResult,
  { connectedAt }: Recipient,
  tried: { readonly attempt: number; readonly isPatient: boolean; readonly forMs: number },
): Outcome | undefined {
  if (result.kind === "ok") return SENT;
  if (result.kind === "failed") return { kind: "failed", reason: result.reason };
  if (result.kind === "gone") {
    // AWS answers 410 until $connect has been answered, so for a row this young it may mean "not yet".
    if (Date.now() - connectedAt > ARRIVAL_MS) return { kind: "gone" };
    return tried.forMs > ARRIVAL_RETRY_MS ? { kind: "failed", reason: "arriving" } : undefined;
  }
  // A gateway that has too many calls will take this one by and by. A 429 that others do not meet is of a client that does not
  // read, and what is urgent does not wait: the socket is to be closed.
  const isPatient = result.isThrottled === true && tried.isPatient;
  const isGivenUp = isPatient ? tried.forMs > THROTTLED_RETRY_MS : tried.attempt >= ATTEMPTS;
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

/** Whether a call to the connection is under way, or something urgent is to go before. */
function isTaken(line: Line, urgent: boolean): boolean {
  return line.calling !== undefined || (!urgent && line.pressing > 0);
}

async function free(line: Line, urgent: boolean): Promise<void> {
  while (isTaken(line, urgent)) {
    await (line.calling ?? line.urgent?.outcome)?.catch(() => undefined);
  }
}

/** Whatever an app's own Management API throws. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error).slice(0, 200);
  // The code of our own errors is that of many causes.
  if (error instanceof SallyportError) return error.message;
  return (error as { code?: string }).code ?? error.message;
}
