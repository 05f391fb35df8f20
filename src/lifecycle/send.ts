import type { Outcome } from "../delivery/delivery.ts";
import { type DeliveryReport, DeliveryTally, SendInterruptedError } from "../delivery/report.ts";
import type { SendPlace } from "../delivery/send-order.ts";
import { ConfigurationError } from "../errors.ts";
import { PAGE_SIZE, type SessionRow } from "../sessions/sessions.ts";
import { shown } from "../shown.ts";
import { breathe } from "../storage/database.ts";
import type { SendOptions } from "../view/context.ts";
import { refuseUnknown } from "../view/rule.ts";
import type { Plan } from "./audience-plan.ts";
import {
  explainWithheld,
  type Page,
  pagesOf,
  permittedOf,
  permittedSince,
  recipientAt,
} from "./recipients.ts";
import type { Rooms } from "./rooms.ts";

/** Withheld recipients of one send whose reasons are kept; a send that requires a lot withholds a lot. */
const EXPLAINED_PER_SEND = 20;

const OPTIONS = new Set<string>(["signal", "onProgress", "after"] satisfies (keyof SendOptions)[]);

/** @throws ConfigurationError for options that cannot be */
export function checkSendOptions(options: SendOptions): void {
  refuseUnknown("send(…, options)", options, OPTIONS);
  const { signal, onProgress, after } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new ConfigurationError(`send(…, { signal }): ${shown(signal)} is no AbortSignal.`);
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw new ConfigurationError(`send(…, { onProgress }): ${shown(onProgress)} is no function.`);
  }
  if (after !== undefined && !(typeof after === "string" && after.length <= 255)) {
    throw new ConfigurationError(`send(…, { after }): ${shown(after)} is no report's cursor.`);
  }
}

/** Sends a frame to whoever may have it: a few pages of the audience are in memory, however large it is. */
export function send(rooms: Rooms, plan: Plan, frame: string, options: SendOptions): Promise<DeliveryReport> {
  return new Send(rooms, plan, frame, options).run();
}

class Send {
  readonly #rooms: Rooms;
  readonly #plan: Plan;
  readonly #frame: string;
  readonly #options: SendOptions;
  readonly #tally = new DeliveryTally();
  /** The last recipient that was dealt with: all before it were too. */
  #cursor: string;
  #gone: string[] = [];
  #closing: Promise<unknown> = Promise.resolve();
  #underWay = 0;
  #drained: (() => void) | undefined;
  /** Called when the send is ended while it waits. */
  #ended: (() => void) | undefined;

  constructor(rooms: Rooms, plan: Plan, frame: string, options: SendOptions) {
    this.#rooms = rooms;
    this.#plan = plan;
    this.#frame = frame;
    this.#options = options;
    this.#cursor = options.after ?? "";
  }

  async run(): Promise<DeliveryReport> {
    const place = this.#rooms.sendOrder.enter(JSON.stringify(this.#plan.selector));
    const end = () => this.#ended?.();
    this.#options.signal?.addEventListener("abort", end);
    try {
      const isComplete = await this.#pages(place).finally(() => place.leave());
      await this.#settle();
      if (!isComplete) {
        this.#tally.leave(await this.#rooms.sessions.count(this.#plan.selector, this.#cursor));
      }
      return this.#tally.report(isComplete ? null : this.#cursor);
    } catch (cause) {
      throw await this.#interrupted(cause);
    } finally {
      this.#options.signal?.removeEventListener("abort", end);
    }
  }

  /** While one page is handed over the next is read; a change since then is noticed before each post. */
  async #pages(place: SendPlace): Promise<boolean> {
    const pages = pagesOf(this.#rooms, this.#plan, this.#cursor);
    let reading = pages.next();
    for (;;) {
      const { done, value } = await reading;
      if (done) return true;
      if (this.#options.signal?.aborted) return value.page.length === 0;
      reading = breathe().then(() => pages.next());
      reading.catch(() => undefined);
      if (!(await this.#page(value, place))) return false;
      this.#tell();
    }
  }

  /** @returns false when the send was ended before the last of the page */
  async #page({ page, readAt }: Page, place: SendPlace): Promise<boolean> {
    const { delivery, gateways } = this.#rooms;
    const permitted = await permittedOf(this.#rooms, this.#plan, page);
    const known = await gateways.findMany(page.map((session) => session.gatewayId));
    const options = { stillPermitted: permittedSince(this.#rooms, this.#plan, readAt) };
    for (const session of page) {
      const gateway = permitted.has(session.id) ? known.get(session.gatewayId) : undefined;
      const before = place.mayPass(session.id);
      if (before) await this.#wait(before, () => place.mayPass(session.id));
      const room = gateway && delivery.room(gateway.endpoint);
      if (room) await this.#wait(room, () => delivery.room(gateway.endpoint));
      if (this.#options.signal?.aborted) return false;
      if (gateway) this.#count(session, delivery.post(recipientAt(gateway, session), this.#frame, options));
      else this.#withhold(session, permitted.has(session.id));
      this.#cursor = session.id;
      place.passed(session.id);
    }
    return true;
  }

  /** Waits for as long as there is something to wait for, or until the send is ended. */
  async #wait(first: Promise<void>, again: () => Promise<void> | undefined): Promise<void> {
    const { signal } = this.#options;
    for (let coming: Promise<void> | undefined = first; coming && !signal?.aborted; coming = again()) {
      const came = coming;
      await (signal
        ? new Promise<void>((resolve) => {
            this.#ended = resolve;
            came.then(resolve);
          })
        : came);
    }
  }

  #withhold(session: SessionRow, isPermitted: boolean): void {
    const count = this.#tally.withhold();
    if (!isPermitted && count <= EXPLAINED_PER_SEND) explainWithheld(this.#rooms, this.#plan, session);
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

  #closeGone(): void {
    const gone = this.#gone;
    this.#gone = [];
    this.#closing = this.#closing.then(() => this.#rooms.sessions.closeMany(gone, "gone"));
    this.#closing.catch(() => undefined);
  }

  async #settle(): Promise<void> {
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    this.#closeGone();
    await this.#closing;
  }

  #tell(): void {
    try {
      this.#options.onProgress?.(this.#tally.report(this.#cursor));
    } catch (error) {
      this.#rooms.onError(error, "onProgress of a send");
    }
  }

  /** What was handed over runs to its end, so that the report is true; what failed was to be read or written. */
  async #interrupted(cause: unknown): Promise<unknown> {
    await this.#settle().catch(() => undefined);
    const report = this.#tally.report(this.#cursor);
    if (report.recipients === 0) return cause;
    return new SendInterruptedError(report, cause);
  }
}
