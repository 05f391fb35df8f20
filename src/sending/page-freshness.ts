import { denied, newReference } from "../audit/decision.ts";
import { MAX_CHECKS } from "../auth/authorize.ts";
import type { ShouldSend } from "../delivery/delivery.ts";
import { ForbiddenError } from "../errors.ts";
import { decisionContextOf } from "../revocation/recheck.ts";
import type { SendingServices } from "../services.ts";
import { CONNECTION_PAGE, type ConnectionRow } from "../storage/stores/connections.ts";
import type { AudienceQuery } from "./audience.ts";
import { type Page, permissionsOf, permittedRecipients } from "./recipients.ts";

/** The result of one read of a page. */
interface PageRead {
  readonly sequence: number;
  readonly rows: ReadonlyMap<string, ConnectionRow>;
  readonly permitted: ReadonlySet<string>;
}

/**
 * Checks recipients of a page directly before each call to API Gateway.
 *
 * If a change since the page was read can affect the recipient, the page is read and checked again,
 * in one statement.
 */
export class PageFreshness {
  readonly #services: SendingServices;
  readonly #query: AudienceQuery;
  readonly #page: Page;
  readonly #channels: readonly string[];
  readonly #checkCounts = new Map<string, number>();
  #permitted: ReadonlySet<string>;
  /** `undefined` until a change occurs, because a map per page would cost more than the send. */
  #last: PageRead | undefined;
  #reading: Promise<void> | undefined;

  /** @param permitted ids of the connections of the page that are allowed to receive the message */
  constructor(services: SendingServices, query: AudienceQuery, page: Page, permitted: ReadonlySet<string>) {
    this.#services = services;
    this.#query = query;
    this.#page = page;
    this.#permitted = permitted;
    this.#channels = query.selector.kind === "channel" ? [query.selector.channel] : [];
  }

  readonly check: ShouldSend = ({ connectionKey }) => {
    const sequence = this.#last?.sequence ?? this.#page.sequence;
    if (this.#services.changedSubjects.sequence === sequence) return this.#result(connectionKey);
    const row = this.#rows.get(connectionKey);
    // A connection that the last read did not return was closed, or left the channel.
    if (!row || !this.#isStale(row, sequence)) return this.#result(connectionKey);
    const checks = (this.#checkCounts.get(connectionKey) ?? 1) + 1;
    if (checks > MAX_CHECKS) return this.#deny(row);
    this.#checkCounts.set(connectionKey, checks);
    this.#reading ??= this.#readAgain().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading.then(() => this.#permitted.has(connectionKey));
  };

  #result(connectionKey: string): true | Promise<boolean> {
    return this.#permitted.has(connectionKey) ? true : Promise.resolve(false);
  }

  get #rows(): ReadonlyMap<string, ConnectionRow> {
    const { sequence, page } = this.#page;
    this.#last ??= { sequence, rows: byId(page), permitted: this.#permitted };
    return this.#last.rows;
  }

  #isStale(row: ConnectionRow, since: number): boolean {
    return this.#services.changedSubjects.isStale({ ...row, channels: this.#channels }, since);
  }

  async #readAgain(): Promise<void> {
    const sequence = this.#services.changedSubjects.sequence;
    const rows = await this.#readPage();
    const permitted = await permittedRecipients(this.#services, this.#query, [...rows.values()]);
    this.#last = { sequence, rows, permitted };
    this.#permitted = permitted;
  }

  /**
   * Reads the page again.
   *
   * Connections that were opened since then can move the last ones to a second page.
   */
  async #readPage(): Promise<ReadonlyMap<string, ConnectionRow>> {
    const { page } = this.#page;
    const ids = new Set(page.map(({ id }) => id));
    const end = page.at(-1)?.id ?? "";
    const permissions = permissionsOf(this.#services, this.#query);
    const rows: ConnectionRow[] = [];
    for (let { after } = this.#page; ; ) {
      const read = await this.#services.store.connections.recipients(
        this.#query.selector,
        after,
        permissions,
      );
      rows.push(...read.filter(({ id }) => ids.has(id)));
      after = read.at(-1)?.id ?? "";
      if (read.length < CONNECTION_PAGE || after >= end) return byId(rows);
    }
  }

  #deny(row: ConnectionRow): Promise<boolean> {
    const context = decisionContextOf(row, "delivery");
    const message = `The permissions of the recipient changed ${MAX_CHECKS} times while the message waited to be sent. Send it again.`;
    this.#services.reports.recordDecision(
      denied(context, new ForbiddenError(message, { reason: "unstable" }), newReference()),
    );
    return Promise.resolve(false);
  }
}

function byId(rows: readonly ConnectionRow[]): ReadonlyMap<string, ConnectionRow> {
  return new Map(rows.map((row) => [row.id, row]));
}
