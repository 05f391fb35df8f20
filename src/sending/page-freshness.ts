import { newReference, refusal } from "../access/decisions.ts";
import type { StillPermitted } from "../delivery/delivery.ts";
import { RefusedError } from "../errors.ts";
import { PAGE_SIZE, type SessionRow } from "../sessions/sessions.ts";
import type { Plan } from "./audience-plan.ts";
import { type Page, permissionsOf, permittedOf } from "./recipients.ts";
import type { Rooms } from "./rooms.ts";
import { trailOf } from "./standing.ts";

/** Readings that one recipient can cause before it is denied. */
const MAX_READINGS = 20;

/** What one reading of a page returned. */
interface PageReading {
  readonly readAt: number;
  readonly rows: ReadonlyMap<string, SessionRow>;
  readonly permitted: ReadonlySet<string>;
}

/**
 * Checks recipients of a page right before each call to API Gateway. If a change can have taken something from the recipient since the
 * page was read, the whole page is read and checked again, in one statement.
 */
export class PageFreshness {
  readonly #rooms: Rooms;
  readonly #plan: Plan;
  readonly #page: Page;
  readonly #channels: readonly string[];
  readonly #readings = new Map<string, number>();
  #permitted: ReadonlySet<string>;
  /** Undefined until a change happens: a map for each page would cost more than the send. */
  #last: PageReading | undefined;
  #reading: Promise<void> | undefined;

  /** @param permitted ids of the connections of the page that are allowed to receive the message */
  constructor(rooms: Rooms, plan: Plan, page: Page, permitted: ReadonlySet<string>) {
    this.#rooms = rooms;
    this.#plan = plan;
    this.#page = page;
    this.#permitted = permitted;
    this.#channels = plan.selector.kind === "channel" ? [plan.selector.channel] : [];
  }

  readonly check: StillPermitted = ({ sessionId }) => {
    const readAt = this.#last?.readAt ?? this.#page.readAt;
    if (this.#rooms.changedSubjects.now() === readAt) return this.#answer(sessionId);
    const row = this.#rows.get(sessionId);
    // A connection that the last reading did not return was closed, or left the channel.
    if (!row || !this.#isStale(row, readAt)) return this.#answer(sessionId);
    const readings = (this.#readings.get(sessionId) ?? 0) + 1;
    if (readings > MAX_READINGS) return this.#deny(row);
    this.#readings.set(sessionId, readings);
    this.#reading ??= this.#readAgain().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading.then(() => this.#permitted.has(sessionId));
  };

  #answer(sessionId: string): true | Promise<boolean> {
    return this.#permitted.has(sessionId) ? true : Promise.resolve(false);
  }

  get #rows(): ReadonlyMap<string, SessionRow> {
    const { readAt, page } = this.#page;
    this.#last ??= { readAt, rows: byId(page), permitted: this.#permitted };
    return this.#last.rows;
  }

  #isStale(row: SessionRow, since: number): boolean {
    return this.#rooms.changedSubjects.isStale({ ...row, channels: this.#channels }, since);
  }

  async #readAgain(): Promise<void> {
    const readAt = this.#rooms.changedSubjects.now();
    const rows = await this.#readPage();
    const permitted = await permittedOf(this.#rooms, this.#plan, [...rows.values()]);
    this.#last = { readAt, rows, permitted };
    this.#permitted = permitted;
  }

  /** The statement of the page once more. Connections that were opened meanwhile can push the last ones to a second page. */
  async #readPage(): Promise<ReadonlyMap<string, SessionRow>> {
    const { page } = this.#page;
    const ids = new Set(page.map(({ id }) => id));
    const end = page.at(-1)?.id ?? "";
    const permissions = permissionsOf(this.#rooms, this.#plan);
    const rows: SessionRow[] = [];
    for (let { after } = this.#page; ; ) {
      const read = await this.#rooms.sessions.recipients(this.#plan.selector, after, permissions);
      rows.push(...read.filter(({ id }) => ids.has(id)));
      after = read.at(-1)?.id ?? "";
      if (read.length < PAGE_SIZE || after >= end) return byId(rows);
    }
  }

  #deny(row: SessionRow): Promise<boolean> {
    const trail = trailOf(row, "delivery");
    const why = `The permissions of the recipient changed ${MAX_READINGS} times while the message waited to be sent.`;
    this.#rooms.keep(refusal(trail, new RefusedError(why, { reason: "unstable" }), newReference()));
    return Promise.resolve(false);
  }
}

function byId(rows: readonly SessionRow[]): ReadonlyMap<string, SessionRow> {
  return new Map(rows.map((row) => [row.id, row]));
}
