import { setMaxListeners } from "node:events";
import * as v from "valibot";
import type { Outcome } from "../delivery/delivery.ts";
import { type DeliveryReport, DeliveryTally, SendInterruptedError } from "../delivery/report.ts";
import { functionOption, optionsOf, parseOptions } from "../options.ts";
import type { SendingServices } from "../services.ts";
import { CONNECTION_PAGE, type ConnectionRow } from "../storage/stores/connections.ts";
import { yieldToEventLoop } from "../timing.ts";
import type { SendOptions } from "../views/context.ts";
import type { AudienceQuery } from "./audience.ts";
import { PageFreshness } from "./page-freshness.ts";
import { type Page, pagesOf, permittedRecipients, recipientAt, recordDenial } from "./recipients.ts";
import type { PageTurn } from "./send-capacity.ts";
import type { SendTurn } from "./sends.ts";

/** Maximum number of denied recipients per send that are stored with their reasons. */
const EXPLAINED_PER_SEND = 20;

const CURSOR = "must be the cursor of a delivery report";

const SEND_OPTIONS = optionsOf<SendOptions>()({
  signal: v.optional(v.instance(AbortSignal, "must be an AbortSignal")),
  onProgress: v.optional(functionOption<(report: DeliveryReport) => void>()),
  after: v.optional(v.pipe(v.string(CURSOR), v.maxLength(255, CURSOR))),
});

/** Checks the options of `send()`. @throws ConfigurationError if an option is invalid */
export function checkSendOptions(options: SendOptions): void {
  parseOptions("send()", SEND_OPTIONS, options);
}

/** How long a send waits for an earlier send without progress, in milliseconds. */
const PATIENCE_MS = 5000;

/**
 * Sends a frame to the permitted recipients of an audience. Only one page of the audience is in
 * memory.
 *
 * @param turn the position among the sends to the same audience. The send leaves it when it
 *   finishes
 * @param flow the user or audience that capacity is assigned to. Flows take turns
 * @throws DeliveryError if the send queue has no space for the message
 * @throws SendInterruptedError if an error occurred after the first recipients
 */
export function send(
  services: SendingServices,
  query: AudienceQuery,
  frame: string,
  options: SendOptions,
  turn: SendTurn,
  flow: string,
): Promise<DeliveryReport> {
  const run = async () => {
    const release = await services.sends.capacity.reserve(Buffer.byteLength(frame), flow, options.signal);
    try {
      return await new Send(services, query, frame, options, turn, flow).run();
    } finally {
      release();
    }
  };
  return services.sends.track(
    services.reports.telemetry ? services.reports.telemetry.send(kindOf(query.audience), run) : run(),
  );
}

function kindOf(audience: AudienceQuery["audience"]): string {
  return typeof audience === "string" ? audience : (Object.keys(audience)[0] ?? "");
}

/** Returns the key of an audience. Sends with the same key keep their order. */
export function audienceKey(audience: unknown): string {
  try {
    return JSON.stringify(audience) ?? "";
  } catch {
    // The audience is invalid. buildAudienceQuery() rejects it.
    return "";
  }
}

class Send {
  readonly #services: SendingServices;
  readonly #query: AudienceQuery;
  readonly #frame: string;
  readonly #options: SendOptions;
  readonly #turn: SendTurn;
  readonly #flow: string;
  readonly #tally = new DeliveryTally();
  /** The last recipient that was processed. All before it were processed too. */
  #cursor: string;
  #gone: string[] = [];
  readonly #closing: Promise<void>[] = [];
  #inFlight = 0;
  #drained: (() => void) | undefined;
  /** Wakes the send when it is ended, or has to release its page, while it waits. */
  #wake: (() => void) | undefined;

  constructor(
    services: SendingServices,
    query: AudienceQuery,
    frame: string,
    options: SendOptions,
    turn: SendTurn,
    flow: string,
  ) {
    this.#services = services;
    this.#query = query;
    this.#frame = frame;
    this.#options = options;
    this.#turn = turn;
    this.#flow = flow;
    this.#cursor = options.after ?? "";
  }

  async run(): Promise<DeliveryReport> {
    // A process that only sends must notice changes of other processes, too.
    await this.#services.changedSubjects.readChanges();
    const { signal } = this.#options;
    const end = () => this.#wake?.();
    if (signal) setMaxListeners(0, signal);
    signal?.addEventListener("abort", end);
    try {
      const isComplete = await this.#pages().finally(() => this.#turn.leave());
      await this.#finish();
      const left = isComplete
        ? 0
        : await this.#services.store.connections.count(this.#query.selector, this.#cursor);
      this.#tally.leave(left);
      return this.#tally.report(left === 0 ? null : this.#cursor);
    } catch (cause) {
      throw await this.#interrupted(cause);
    } finally {
      signal?.removeEventListener("abort", end);
    }
  }

  get #isEnded(): boolean {
    return this.#options.signal?.aborted === true || this.#services.delivery.isNormalStopped;
  }

  /**
   * Reads and sends one page after the other, each when it is this send's turn.
   *
   * @returns `false` if the send was ended before the last page
   */
  async #pages(): Promise<boolean> {
    let pages = pagesOf(this.#services, this.#query, this.#cursor);
    for (;;) {
      const turn = await this.#pageTurn();
      try {
        if (this.#isEnded) return false;
        const { done, value } = await pages.next();
        if (done) return true;
        const readAt = performance.now();
        await yieldToEventLoop();
        const progress = await this.#page(value, turn, readAt);
        if (progress === "ended") return false;
        if (progress === "yielded") pages = pagesOf(this.#services, this.#query, this.#cursor);
        else {
          this.#turn.completePage();
          this.#reportProgress();
          if (value.page.length < CONNECTION_PAGE) return true;
        }
      } finally {
        turn.leave();
      }
    }
  }

  /**
   * Waits until the send before has completed the next page, and then for the capacity to hold a
   * page.
   */
  async #pageTurn(): Promise<PageTurn> {
    await this.#waitForSendBefore(() => this.#turn.waitForPage(this.#cursor));
    const turn = this.#services.sends.capacity.enter(this.#flow);
    if (turn.granted && !this.#isEnded) await this.#unlessWoken(turn.granted);
    return turn;
  }

  /**
   * Sends to the recipients of one page.
   *
   * @param readAt `performance.now()` when the page had been read
   */
  async #page(read: Page, turn: PageTurn, readAt: number): Promise<"done" | "yielded" | "ended"> {
    const { page } = read;
    const { delivery, gateways } = this.#services;
    const permitted = await this.#unlessWoken(permittedRecipients(this.#services, this.#query, page));
    if (!permitted) return "ended";
    const gatewaysById = await gateways.findMany(page.map((connection) => connection.gatewayId));
    const options = { shouldSend: new PageFreshness(this.#services, this.#query, read, permitted).check };
    turn.beginHandover(() => this.#wake?.());
    for (const connection of page) {
      const isPermitted = permitted.has(connection.id);
      const gateway = isPermitted ? gatewaysById.get(connection.gatewayId) : undefined;
      if (this.#turn.waitFor(connection.id)) {
        // The send before can itself wait for a page.
        turn.leave();
        await this.#waitForSendBefore(() => this.#turn.waitFor(connection.id));
      }
      const queued = () =>
        gateway && delivery.waitForCapacity(gateway.endpoint, connection.connectionId, this.#flow);
      for (let wait = queued(); wait && !this.#isEnded && !turn.mustYield; wait = queued()) {
        await this.#unlessWoken(wait.ready);
        wait.leave();
      }
      if (this.#isEnded) return "ended";
      if (turn.mustYield) return "yielded";
      if (!isPermitted) this.#deny(connection);
      else if (gateway) {
        // The wall clock can have been changed since the page was read, so the monotonic clock is
        // used.
        const now = Date.now() - (performance.now() - readAt);
        this.#count(connection, delivery.post(recipientAt(gateway, connection, now), this.#frame, options));
      } else this.#count(connection, GATEWAY_REMOVED);
      this.#cursor = connection.id;
      this.#turn.advance(connection.id);
    }
    return "done";
  }

  /**
   * Waits for the send before. The wait ends if no send to the audience makes progress for
   * {@link PATIENCE_MS}.
   */
  async #waitForSendBefore(waiting: () => Promise<void> | undefined): Promise<void> {
    for (let before = waiting(); before && !this.#isEnded; before = waiting()) {
      let timer: NodeJS.Timeout | undefined;
      const { progressCount } = this.#turn;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          if (this.#turn.progressCount === progressCount) this.#turn.removeSendBefore();
          resolve();
        }, PATIENCE_MS);
      });
      await this.#unlessWoken(Promise.race([before, patience]));
      clearTimeout(timer);
    }
  }

  /** Returns the result, or `undefined` if the send is ended or has to release its page first. */
  #unlessWoken<Result>(work: Promise<Result>): Promise<Result | undefined> {
    return new Promise((resolve, reject) => {
      this.#wake = () => resolve(undefined);
      work.then(resolve, reject);
      if (this.#isEnded) resolve(undefined);
    });
  }

  #deny(connection: ConnectionRow): void {
    if (this.#tally.deny() <= EXPLAINED_PER_SEND) recordDenial(this.#services, this.#query, connection);
  }

  #count(connection: ConnectionRow, posted: Promise<Outcome>): void {
    this.#tally.begin();
    this.#inFlight++;
    posted.then((outcome) => {
      this.#tally.count(outcome);
      if (outcome.kind === "gone") this.#close(connection.id);
      if (--this.#inFlight === 0) this.#drained?.();
    });
  }

  /** Collects rows to close, so that one statement closes many. */
  #close(id: string): void {
    this.#gone.push(id);
    if (this.#gone.length >= CONNECTION_PAGE) this.#closeGone();
  }

  /** Closes the rows of gone connections. If it fails, the next send finds them gone again. */
  #closeGone(): void {
    const gone = this.#gone;
    this.#gone = [];
    const closing = this.#services.store.connections.closeMany(gone, "gone").then(
      () => undefined,
      (error) =>
        this.#services.reports.onError(error, `closing the rows of ${gone.length} connections that are gone`),
    );
    this.#closing.push(closing);
  }

  async #finish(): Promise<void> {
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    this.#closeGone();
    await Promise.all(this.#closing);
  }

  #reportProgress(): void {
    const onFailure = (error: unknown) => this.#services.reports.onError(error, "onProgress of a send");
    try {
      const returned: unknown = this.#options.onProgress?.(this.#tally.report(this.#cursor));
      if (returned instanceof Promise) returned.catch(onFailure);
    } catch (error) {
      onFailure(error);
    }
  }

  /**
   * Waits for the posts in flight, so that the report is correct, and returns the error to throw.
   */
  async #interrupted(cause: unknown): Promise<unknown> {
    await this.#finish();
    const report = this.#tally.report(this.#cursor);
    return report.recipients === 0 ? cause : new SendInterruptedError(report, cause);
  }
}

const GATEWAY_REMOVED: Promise<Outcome> = Promise.resolve({ kind: "failed", reason: "gateway removed" });
