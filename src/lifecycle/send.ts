import { setMaxListeners } from "node:events";
import * as v from "valibot";
import type { Outcome } from "../delivery/delivery.ts";
import { type DeliveryReport, DeliveryTally, SendInterruptedError } from "../delivery/report.ts";
import type { SendPlace } from "../delivery/send-order.ts";
import { functionOption, optionsOf, parseOptions } from "../options.ts";
import { PAGE_SIZE, type SessionRow } from "../sessions/sessions.ts";
import { breathe } from "../storage/database.ts";
import type { SendOptions } from "../view/context.ts";
import type { Plan } from "./audience-plan.ts";
import { PageFreshness } from "./page-freshness.ts";
import { explainWithheld, type Page, pagesOf, permittedOf, recipientAt } from "./recipients.ts";
import type { Rooms } from "./rooms.ts";

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
 * Sends a frame to whoever may have it: a few pages of the audience are in memory, however large it is.
 *
 * @param place among the sends to the same audience; left when this one is over
 */
export function send(
  rooms: Rooms,
  plan: Plan,
  frame: string,
  options: SendOptions,
  place: SendPlace,
): Promise<DeliveryReport> {
  const run = () => new Send(rooms, plan, frame, options, place).run();
  return underWay(rooms, rooms.telemetry ? rooms.telemetry.send(kindOf(plan.audience), run) : run());
}

function kindOf(audience: Plan["audience"]): string {
  return typeof audience === "string" ? audience : (Object.keys(audience)[0] ?? "");
}

/** Notes a send for as long as it goes on: whoever closes or comes to rest waits for it. */
export function underWay<Report>(rooms: Rooms, sending: Promise<Report>): Promise<Report> {
  rooms.sends.add(sending);
  const over = () => rooms.sends.delete(sending);
  sending.then(over, over);
  return sending;
}

/** What the sends to an audience keep their order by. */
export function orderOf(audience: unknown): string {
  try {
    return JSON.stringify(audience) ?? "";
  } catch {
    // No audience at all, as is found out in a moment.
    return "";
  }
}

class Send {
  readonly #rooms: Rooms;
  readonly #plan: Plan;
  readonly #frame: string;
  readonly #options: SendOptions;
  readonly #place: SendPlace;
  readonly #tally = new DeliveryTally();
  /** The last recipient that was dealt with: all before it were too. */
  #cursor: string;
  #gone: string[] = [];
  readonly #closing: Promise<void>[] = [];
  #underWay = 0;
  #drained: (() => void) | undefined;
  /** Called when the send is ended while it waits. */
  #ended: (() => void) | undefined;

  constructor(rooms: Rooms, plan: Plan, frame: string, options: SendOptions, place: SendPlace) {
    this.#rooms = rooms;
    this.#plan = plan;
    this.#frame = frame;
    this.#options = options;
    this.#place = place;
    this.#cursor = options.after ?? "";
  }

  async run(): Promise<DeliveryReport> {
    // A process that only sends must notice changes of other processes, too.
    await this.#rooms.watch();
    const { signal } = this.#options;
    const end = () => this.#ended?.();
    if (signal) setMaxListeners(0, signal);
    signal?.addEventListener("abort", end);
    try {
      const isComplete = await this.#pages().finally(() => this.#place.leave());
      await this.#settle();
      if (!isComplete) {
        this.#tally.leave(await this.#rooms.sessions.count(this.#plan.selector, this.#cursor));
      }
      return this.#tally.report(isComplete ? null : this.#cursor);
    } catch (cause) {
      throw await this.#interrupted(cause);
    } finally {
      signal?.removeEventListener("abort", end);
    }
  }

  get #isEnded(): boolean {
    return this.#options.signal?.aborted === true || this.#rooms.delivery.isStopped;
  }

  /** While one page is handed over the next is read; a change since then is noticed before each post. */
  async #pages(): Promise<boolean> {
    const pages = pagesOf(this.#rooms, this.#plan, this.#cursor);
    let reading = pages.next();
    for (;;) {
      const { done, value } = await reading;
      if (done) return true;
      if (this.#isEnded) return value.page.length === 0;
      reading = breathe().then(() => pages.next());
      reading.catch(() => undefined);
      if (!(await this.#page(value))) return false;
      this.#tell();
    }
  }

  /** @returns false when the send was ended before the last of the page */
  async #page(read: Page): Promise<boolean> {
    const { page, at } = read;
    const { delivery, gateways } = this.#rooms;
    const permitted = await this.#orEnd(permittedOf(this.#rooms, this.#plan, page));
    if (!permitted) return false;
    const known = await gateways.findMany(page.map((session) => session.gatewayId));
    const options = { stillPermitted: new PageFreshness(this.#rooms, this.#plan, read, permitted).check };
    for (const session of page) {
      const isPermitted = permitted.has(session.id);
      const gateway = isPermitted ? known.get(session.gatewayId) : undefined;
      if (this.#place.mayPass(session.id)) await this.#inOrder(session.id);
      const room = gateway && delivery.room(gateway.endpoint);
      if (room) await this.#roomAt(room, gateway.endpoint);
      if (this.#isEnded) return false;
      if (!isPermitted) this.#withhold(session);
      else if (gateway) {
        this.#count(session, delivery.post(recipientAt(gateway, session, at), this.#frame, options));
      } else this.#count(session, GATEWAY_REMOVED);
      this.#cursor = session.id;
      this.#place.passed(session.id);
    }
    return true;
  }

  async #inOrder(id: string): Promise<void> {
    for (let before = this.#place.mayPass(id); before && !this.#isEnded; before = this.#place.mayPass(id)) {
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          this.#place.goAhead();
          resolve();
        }, PATIENCE_MS);
      });
      await this.#orEnd(Promise.race([before, patience]));
      clearTimeout(timer);
    }
  }

  async #roomAt(first: Promise<void>, endpoint: string): Promise<void> {
    const { delivery } = this.#rooms;
    for (
      let room: Promise<void> | undefined = first;
      room && !this.#isEnded;
      room = delivery.room(endpoint)
    ) {
      await this.#orEnd(room);
    }
  }

  /** What comes of it, or undefined when the send is ended first. */
  #orEnd<Result>(coming: Promise<Result>): Promise<Result | undefined> {
    if (!this.#options.signal) return coming;
    return new Promise((resolve, reject) => {
      this.#ended = () => resolve(undefined);
      coming.then(resolve, reject);
      if (this.#isEnded) resolve(undefined);
    });
  }

  #withhold(session: SessionRow): void {
    if (this.#tally.withhold() <= EXPLAINED_PER_SEND) explainWithheld(this.#rooms, this.#plan, session);
  }

  #count(session: SessionRow, posted: Promise<Outcome>): void {
    this.#tally.begin();
    this.#underWay++;
    posted.then((outcome) => {
      this.#tally.count(outcome);
      if (outcome.kind === "gone") this.#close(session.id);
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
    const closing = this.#rooms.sessions.closeMany(gone, "gone").then(
      () => undefined,
      (error) => this.#rooms.onError(error, `closing ${gone.length} sessions that are gone`),
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
    const failed = (error: unknown) => this.#rooms.onError(error, "onProgress of a send");
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
