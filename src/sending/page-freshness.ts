import { denied, newReference } from "../audit/decision.ts";
import { type ConnectionRow, PAGE_SIZE } from "../connections/connections.ts";
import type { ShouldSend } from "../delivery/delivery.ts";
import { RefusedError } from "../errors.ts";
import { decisionContextOf } from "../revocation/recheck.ts";
import type { Services } from "../services.ts";
import type { AudienceQuery } from "./audience.ts";
import { type Page, permissionsOf, permittedRecipients } from "./recipients.ts";

/** Readings that one recipient can cause before it is denied. */
const MAX_READINGS = 20;

/** What one reading of a page returned. */
interface PageReading {
  readonly readAt: number;
  readonly rows: ReadonlyMap<string, ConnectionRow>;
  readonly permitted: ReadonlySet<string>;
}

/**
 * Checks recipients of a page right before each call to API Gateway. If a change can have taken something from the recipient since the
 * page was read, the whole page is read and checked again, in one statement.
 */
export class PageFreshness {
  readonly #services: Services;
  readonly #plan: AudienceQuery;
  readonly #page: Page;
  readonly #channels: readonly string[];
  readonly #readings = new Map<string, number>();
  #permitted: ReadonlySet<string>;
  /** Undefined until a change happens: a map for each page would cost more than the send. */
  #last: PageReading | undefined;
  #reading: Promise<void> | undefined;

  /** @param permitted ids of the connections of the page that are allowed to receive the message */
  constructor(services: Services, plan: AudienceQuery, page: Page, permitted: ReadonlySet<string>) {
    this.#services = services;
    this.#plan = plan;
    this.#page = page;
    this.#permitted = permitted;
    this.#channels = plan.selector.kind === "channel" ? [plan.selector.channel] : [];
  }

  readonly check: ShouldSend = ({ connectionKey }) => {
    const readAt = this.#last?.readAt ?? this.#page.readAt;
    if (this.#services.changedSubjects.now() === readAt) return this.#answer(connectionKey);
    const row = this.#rows.get(connectionKey);
    // A connection that the last reading did not return was closed, or left the channel.
    if (!row || !this.#isStale(row, readAt)) return this.#answer(connectionKey);
    const readings = (this.#readings.get(connectionKey) ?? 0) + 1;
    if (readings > MAX_READINGS) return this.#deny(row);
    this.#readings.set(connectionKey, readings);
    this.#reading ??= this.#readAgain().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading.then(() => this.#permitted.has(connectionKey));
  };

  #answer(connectionKey: string): true | Promise<boolean> {
    return this.#permitted.has(connectionKey) ? true : Promise.resolve(false);
  }

  get #rows(): ReadonlyMap<string, ConnectionRow> {
    const { readAt, page } = this.#page;
    this.#last ??= { readAt, rows: byId(page), permitted: this.#permitted };
    return this.#last.rows;
  }

  #isStale(row: ConnectionRow, since: number): boolean {
    return this.#services.changedSubjects.isStale({ ...row, channels: this.#channels }, since);
  }

  async #readAgain(): Promise<void> {
    const readAt = this.#services.changedSubjects.now();
    const rows = await this.#readPage();
    const permitted = await permittedRecipients(this.#services, this.#plan, [...rows.values()]);
    this.#last = { readAt, rows, permitted };
    this.#permitted = permitted;
  }

  /** The statement of the page once more. Connections that were opened meanwhile can push the last ones to a second page. */
  async #readPage(): Promise<ReadonlyMap<string, ConnectionRow>> {
    const { page } = this.#page;
    const ids = new Set(page.map(({ id }) => id));
    const end = page.at(-1)?.id ?? "";
    const permissions = permissionsOf(this.#services, this.#plan);
    const rows: ConnectionRow[] = [];
    for (let { after } = this.#page; ; ) {
      const read = await this.#services.connections.recipients(this.#plan.selector, after, permissions);
      rows.push(...read.filter(({ id }) => ids.has(id)));
      after = read.at(-1)?.id ?? "";
      if (read.length < PAGE_SIZE || after >= end) return byId(rows);
    }
  }

  #deny(row: ConnectionRow): Promise<boolean> {
    const context = decisionContextOf(row, "delivery");
    const why = `The permissions of the recipient changed ${MAX_READINGS} times while the message waited to be sent.`;
    this.#services.keep(denied(context, new RefusedError(why, { reason: "unstable" }), newReference()));
    return Promise.resolve(false);
  }
}

function byId(rows: readonly ConnectionRow[]): ReadonlyMap<string, ConnectionRow> {
  return new Map(rows.map((row) => [row.id, row]));
}
