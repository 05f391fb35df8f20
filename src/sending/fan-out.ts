import { setMaxListeners } from "node:events";
import * as v from "valibot";
import { type ConnectionRow, PAGE_SIZE } from "../connections/connections.ts";
import type { Outcome } from "../delivery/delivery.ts";
import { type DeliveryReport, DeliveryTally, SendInterruptedError } from "../delivery/report.ts";
import { functionOption, optionsOf, parseOptions } from "../options.ts";
import type { Services } from "../services.ts";
import { yieldToEventLoop } from "../storage/database.ts";
import type { SendOptions } from "../views/context.ts";
import type { AudienceQuery } from "./audience.ts";
import { PageFreshness } from "./page-freshness.ts";
import { type Page, pagesOf, permittedRecipients, recipientAt, recordDenial } from "./recipients.ts";
import type { PageTurn } from "./send-capacity.ts";
import type { SendTurn } from "./send-order.ts";

/** Withheld recipients of one send whose reasons are kept; a send that requires a lot withholds a lot. */
const EXPLAINED_PER_SEND = 20;

const CURSOR = "must be the cursor of a delivery report";

const SEND_OPTIONS = optionsOf<SendOptions>()({
  signal: v.optional(v.instance(AbortSignal, "must be an AbortSignal")),
  onProgress: v.optional(functionOption<(report: DeliveryReport) => void>()),
  after: v.optional(v.pipe(v.string(CURSOR), v.maxLength(255, CURSOR))),
});

/** @throws ConfigurationError with the name of the option, its value and what to change */
export function checkSendOptions(options: SendOptions): void {
  parseOptions("send()", SEND_OPTIONS, options);
}

/** How long a send waits for an earlier one to the same audience that does not move, in milliseconds. */
const PATIENCE_MS = 5000;

/**
 * Sends a frame to the permitted recipients of an audience. One page of the audience is in memory, however large it is.
 *
 * @param turn among the sends to the same audience; left when this one has finished
 * @param flow the user or the audience on whose behalf capacity is taken, in turn with others
 */
export function send(
  services: Services,
  plan: AudienceQuery,
  frame: string,
  options: SendOptions,
  turn: SendTurn,
  flow: string,
): Promise<DeliveryReport> {
  const run = async () => {
    const release = await services.sendCapacity.reserve(Buffer.byteLength(frame), flow, options.signal);
    try {
      return await new Send(services, plan, frame, options, turn, flow).run();
    } finally {
      release();
    }
  };
  return trackSend(
    services,
    services.telemetry ? services.telemetry.send(kindOf(plan.audience), run) : run(),
  );
}

function kindOf(audience: AudienceQuery["audience"]): string {
  return typeof audience === "string" ? audience : (Object.keys(audience)[0] ?? "");
}

/** Notes a send for as long as it goes on: whoever closes or comes to rest waits for it. */
export function trackSend<Report>(services: Services, sending: Promise<Report>): Promise<Report> {
  services.sends.add(sending);
  const over = () => services.sends.delete(sending);
  sending.then(over, over);
  return sending;
}

/** What the sends to an audience keep their order by. */
export function audienceKey(audience: unknown): string {
  try {
    return JSON.stringify(audience) ?? "";
  } catch {
    // No audience at all, as is found out in a moment.
    return "";
  }
}

class Send {
  readonly #services: Services;
  readonly #plan: AudienceQuery;
  readonly #frame: string;
  readonly #options: SendOptions;
  readonly #turn: SendTurn;
  readonly #flow: string;
  readonly #tally = new DeliveryTally();
  /** The last recipient that was dealt with: all before it were too. */
  #cursor: string;
  #gone: string[] = [];
  readonly #closing: Promise<void>[] = [];
  #underWay = 0;
  #drained: (() => void) | undefined;
  /** Called when the send is ended, or has to give up its page, while it waits. */
  #wake: (() => void) | undefined;

  constructor(
    services: Services,
    plan: AudienceQuery,
    frame: string,
    options: SendOptions,
    turn: SendTurn,
    flow: string,
  ) {
    this.#services = services;
    this.#plan = plan;
    this.#frame = frame;
    this.#options = options;
    this.#turn = turn;
    this.#flow = flow;
    this.#cursor = options.after ?? "";
  }

  async run(): Promise<DeliveryReport> {
    // A process that only sends must notice changes of other processes, too.
    await this.#services.watch();
    const { signal } = this.#options;
    const end = () => this.#wake?.();
    if (signal) setMaxListeners(0, signal);
    signal?.addEventListener("abort", end);
    try {
      const isComplete = await this.#pages().finally(() => this.#turn.leave());
      await this.#settle();
      const left = isComplete ? 0 : await this.#services.connections.count(this.#plan.selector, this.#cursor);
      this.#tally.leave(left);
      return this.#tally.report(left === 0 ? null : this.#cursor);
    } catch (cause) {
      throw await this.#interrupted(cause);
    } finally {
      signal?.removeEventListener("abort", end);
    }
  }

  get #isEnded(): boolean {
    return this.#options.signal?.aborted === true || this.#services.delivery.isStopped;
  }

  /** Reads and hands over page after page, each when it is this send's turn. @returns false when the send was ended before the last one */
  async #pages(): Promise<boolean> {
    let pages = pagesOf(this.#services, this.#plan, this.#cursor);
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
        if (progress === "yielded") pages = pagesOf(this.#services, this.#plan, this.#cursor);
        else {
          this.#turn.pageDone();
          this.#tell();
          if (value.page.length < PAGE_SIZE) return true;
        }
      } finally {
        turn.leave();
      }
    }
  }

  /** Waits until the send before has handed over the next page, and then for the capacity to hold one. */
  async #pageTurn(): Promise<PageTurn> {
    await this.#whileBefore(() => this.#turn.mayRead(this.#cursor));
    const turn = this.#services.sendCapacity.enter(this.#flow);
    if (turn.granted && !this.#isEnded) await this.#orWoken(turn.granted);
    return turn;
  }

  /** @param readAt when the page had been read, by `performance.now()` */
  async #page(read: Page, turn: PageTurn, readAt: number): Promise<"done" | "yielded" | "ended"> {
    const { page } = read;
    const { delivery, gateways } = this.#services;
    const permitted = await this.#orWoken(permittedRecipients(this.#services, this.#plan, page));
    if (!permitted) return "ended";
    const known = await gateways.findMany(page.map((connection) => connection.gatewayId));
    const options = { stillPermitted: new PageFreshness(this.#services, this.#plan, read, permitted).check };
    turn.beginHandover(() => this.#wake?.());
    for (const connection of page) {
      const isPermitted = permitted.has(connection.id);
      const gateway = isPermitted ? known.get(connection.gatewayId) : undefined;
      if (this.#turn.mayPass(connection.id)) {
        // The send before may wait for a page itself.
        turn.leave();
        await this.#whileBefore(() => this.#turn.mayPass(connection.id));
      }
      const hasRoom = () => gateway && delivery.room(gateway.endpoint, connection.connectionId, this.#flow);
      for (let room = hasRoom(); room && !this.#isEnded && !turn.mustYield; room = hasRoom()) {
        await this.#orWoken(room.ready);
        room.leave();
      }
      if (this.#isEnded) return "ended";
      if (turn.mustYield) return "yielded";
      if (!isPermitted) this.#withhold(connection);
      else if (gateway) {
        // By the monotonic clock: the wall clock may have been set since the page was read.
        const now = Date.now() - (performance.now() - readAt);
        this.#count(connection, delivery.post(recipientAt(gateway, connection, now), this.#frame, options));
      } else this.#count(connection, GATEWAY_REMOVED);
      this.#cursor = connection.id;
      this.#turn.passed(connection.id);
    }
    return "done";
  }

  /** Waits for the send before. One that does not move for too long, nor any other send to the audience, is not waited for. */
  async #whileBefore(waiting: () => Promise<void> | undefined): Promise<void> {
    for (let before = waiting(); before && !this.#isEnded; before = waiting()) {
      let timer: NodeJS.Timeout | undefined;
      const { moves } = this.#turn;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          if (this.#turn.moves === moves) this.#turn.goAhead();
          resolve();
        }, PATIENCE_MS);
      });
      await this.#orWoken(Promise.race([before, patience]));
      clearTimeout(timer);
    }
  }

  /** The result, or undefined when the send is ended, or has to give up its page, before. */
  #orWoken<Result>(coming: Promise<Result>): Promise<Result | undefined> {
    return new Promise((resolve, reject) => {
      this.#wake = () => resolve(undefined);
      coming.then(resolve, reject);
      if (this.#isEnded) resolve(undefined);
    });
  }

  #withhold(connection: ConnectionRow): void {
    if (this.#tally.withhold() <= EXPLAINED_PER_SEND) recordDenial(this.#services, this.#plan, connection);
  }

  #count(connection: ConnectionRow, posted: Promise<Outcome>): void {
    this.#tally.begin();
    this.#underWay++;
    posted.then((outcome) => {
      this.#tally.count(outcome);
      if (outcome.kind === "gone") this.#close(connection.id);
      if (--this.#underWay === 0) this.#drained?.();
    });
  }

  /** Many rows at once. */
  #close(id: string): void {
    this.#gone.push(id);
    if (this.#gone.length >= PAGE_SIZE) this.#closeGone();
  }

  /** Rows that stay open are found gone by the next send. */
  #closeGone(): void {
    const gone = this.#gone;
    this.#gone = [];
    const closing = this.#services.connections.closeMany(gone, "gone").then(
      () => undefined,
      (error) => this.#services.onError(error, `closing ${gone.length} sessions that are gone`),
    );
    this.#closing.push(closing);
  }

  async #settle(): Promise<void> {
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    this.#closeGone();
    await Promise.all(this.#closing);
  }

  #tell(): void {
    const failed = (error: unknown) => this.#services.onError(error, "onProgress of a send");
    try {
      const told: unknown = this.#options.onProgress?.(this.#tally.report(this.#cursor));
      if (told instanceof Promise) told.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  /** What was handed over runs to its end, so that the report is true; what failed was to be read. */
  async #interrupted(cause: unknown): Promise<unknown> {
    await this.#settle();
    const report = this.#tally.report(this.#cursor);
    return report.recipients === 0 ? cause : new SendInterruptedError(report, cause);
  }
}

const GATEWAY_REMOVED: Promise<Outcome> = Promise.resolve({ kind: "failed", reason: "gateway removed" });
