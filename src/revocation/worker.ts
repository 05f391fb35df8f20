import { type ClockReading, msSince, readClocks } from "../elapsed.ts";
import { ForbiddenError, StorageError } from "../errors.ts";
import type { RevocationServices } from "../services.ts";
import {
  CONNECTION_PAGE,
  type ConnectionWithChannels,
  PERMISSION_ENDED,
} from "../storage/stores/connections.ts";
import { type Revocation, selectorOf } from "../storage/stores/revocations.ts";
import { type LostAccess, type RecheckedPage, RevocationNotifier, recordLoss } from "./notify.ts";
import { decisionContextOf, type RecheckResult, recheckChannelRules, recheckView } from "./recheck.ts";
import { RestoreWorker } from "./restore.ts";

/** The effects of a record on open connections. */
export interface RevocationOutcome {
  /** Number of connections that lost a view or a channel. */
  readonly lost: number;
  /** Number of connections that were closed. */
  readonly closed: number;
  /** Number of channels that remaining connections left. */
  readonly left: number;
  /** Number of connections that only another app can check. */
  readonly unknown: number;
  /** False if another process had started the record, and may have applied a part of it. */
  readonly isComplete: boolean;
}

/** Maximum number of records in progress at the same time. */
const MAX_RECORDS = 8;

/** Applies recorded permission changes to open connections. */
export class RevocationWorker {
  readonly #services: RevocationServices;
  readonly #sweep: () => Promise<void>;
  readonly #restoring: RestoreWorker;
  /** Records in progress. Each resolves to its effects, or to undefined if it failed. */
  readonly #inProgress = new Map<string, Promise<RevocationOutcome | undefined>>();
  /**
   * Records that failed in this process, with the error. The rows of some of their connections can
   * be closed without a notice to the client.
   */
  readonly #failed = new Map<string, unknown>();

  /** When records and expired grants were last checked. */
  #checkedAt: ClockReading | undefined;

  /** @param sweep removes old decisions and ended sessions, if that is due */
  constructor(services: RevocationServices, sweep: () => Promise<void>) {
    this.#services = services;
    this.#sweep = sweep;
    this.#restoring = new RestoreWorker(services);
  }

  /** Returns whether the last check for records and expired grants is at least `everyMs` ago. */
  isDue(everyMs: number): boolean {
    return this.#checkedAt === undefined || msSince(this.#checkedAt) >= everyMs;
  }

  /** Whether the maximum number of records is in progress. */
  get isFull(): boolean {
    return this.#inProgress.size >= MAX_RECORDS;
  }

  /**
   * Processes every record that this process can dequeue, except those already in progress.
   *
   * @returns the number of connections that lost a view or a channel
   */
  async enforce(): Promise<number> {
    this.#checkedAt = readClocks();
    await expireGrants(this.#services);
    const started: Promise<RevocationOutcome | undefined>[] = [];
    for (;;) {
      while (this.isFull) await Promise.race(this.#inProgress.values());
      const revocation = await this.#services.revocations.dequeue({
        except: new Set(this.#inProgress.keys()),
      });
      if (!revocation) break;
      started.push(this.#startProcessing(revocation));
    }
    const outcomes = await Promise.all(started);
    this.restore();
    await this.#services.reports.decisionLog.flushWithCounts();
    await this.#sweep();
    return outcomes.reduce((sum, outcome) => sum + (outcome?.lost ?? 0), 0);
  }

  /**
   * Processes the record of one change. It does not wait for the hooks of other records.
   *
   * @returns its effects, or undefined if another process applies them
   * @throws StorageError if the database failed before the record was finished. The record stays in
   *   the queue and is dequeued again
   */
  async enforceOne(id: string): Promise<RevocationOutcome | undefined> {
    const { revocations, store, reports } = this.#services;
    let outcome: RevocationOutcome | undefined;
    try {
      const revocation =
        this.#inProgress.has(id) ||
        (await revocations.dequeue({ except: new Set(this.#inProgress.keys()), only: id }));
      // If the poller of this process dequeued it in between, it is in progress now.
      outcome = await (typeof revocation === "object"
        ? this.#startProcessing(revocation)
        : this.#inProgress.get(id));
    } catch (error) {
      reports.onError(error, "dequeuing a revocation");
      throw store.failure(error);
    }
    const failure = store.failure(this.#failed.get(id));
    if (failure instanceof StorageError) throw failure;
    return outcome;
  }

  /** Starts to check lost channels, without delaying removals. */
  restore(): void {
    this.#restoring.start();
  }

  /** Resolves when the records that are in progress now are finished. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#inProgress.values(), this.#restoring.idle()]);
  }

  #startProcessing(revocation: Revocation): Promise<RevocationOutcome | undefined> {
    const current = this.#inProgress.get(revocation.id);
    if (current) return current;
    const processing = this.#process(revocation).finally(() => this.#inProgress.delete(revocation.id));
    this.#inProgress.set(revocation.id, processing);
    return processing;
  }

  async #process(revocation: Revocation): Promise<RevocationOutcome | undefined> {
    const { revocations, reports } = this.#services;
    const { id } = revocation;
    const isTakenOver = revocation.isTakenOver || this.#failed.has(id);
    try {
      const outcome = await revocations.withLease(id, (advanced) =>
        processRecord(this.#services, { ...revocation, isTakenOver }, advanced),
      );
      if (outcome.unknown > 0) await revocations.completeForThisApp(id);
      else await revocations.finish(id);
      this.#failed.delete(id);
      return outcome;
    } catch (error) {
      // The change is committed. Its record stays and is dequeued again when the lease has expired.
      this.#failed.set(id, error);
      reports.onError(error, `revoking access after a change of ${revocation.scope} ${revocation.subject}`);
      await revocations.postpone(id).catch((failure) => reports.onError(failure, "postponing a revocation"));
      return undefined;
    }
  }
}

/** Maximum number of grants that one transaction expires. Other writers wait for it. */
const GRANTS_PER_BATCH = 500;

/** Records expired grants, so that connections that depended on them are checked. */
async function expireGrants({ store, revocations, changedSubjects }: RevocationServices): Promise<void> {
  if (!(await store.changes.hasExpired())) return;
  const origin = { claimedBy: revocations.claimant.id };
  for (;;) {
    const subjects = await store.changes.expireGrants(GRANTS_PER_BATCH, origin);
    changedSubjects.mark(subjects);
    if (subjects.length < GRANTS_PER_BATCH) return;
  }
}

/**
 * Processes all connections of a record.
 *
 * A connection that lost its view receives a notice and is closed. A connection that lost a channel
 * leaves it, receives a notice and stays open. All steps are idempotent, so a record is finished
 * only after all its pages.
 *
 * @param advanced called each time that work has finished
 * @throws Error if the app is closed before the end. Otherwise, the first error is thrown after all
 *   pages
 */
async function processRecord(
  services: RevocationServices,
  revocation: Revocation,
  advanced: () => void,
): Promise<RevocationOutcome> {
  const notifier = new RevocationNotifier(services, advanced);
  let unknown = 0;
  try {
    for (let after = ""; ; ) {
      const page = await services.store.connections.page(selectorOf(revocation), after, {
        includeClosed: revocation.isTakenOver,
      });
      advanced();
      const ended = await endByRules(services, revocation, page);
      unknown += ended.unknown;
      notifier.begin(ended);
      if (page.length < CONNECTION_PAGE) break;
      after = page.at(-1)?.id ?? "";
      await notifier.waitForCapacity();
      if (services.delivery.isAllStopped) break;
    }
  } finally {
    await notifier.settled();
  }
  if (services.delivery.isAllStopped) {
    throw new Error(
      "The app was closed before all connections were checked. Another process completes the revocation. " +
        "Do not repeat the change.",
    );
  }
  return { ...notifier.losses(), unknown, isComplete: !revocation.isTakenOver };
}

/**
 * Evaluates the rules for all connections of a page. Rows are closed and channels are left before
 * any client is notified or any hook is called.
 */
async function endByRules(
  services: RevocationServices,
  revocation: Revocation,
  page: readonly ConnectionWithChannels[],
): Promise<RecheckedPage> {
  const rechecked = page.map((connection) => ({
    connection,
    result: recheckConnection(services, connection, revocation),
  }));
  const ended = rechecked.flatMap(({ connection, result }) =>
    result.kind === "lost" ? [{ connection, ...result }] : [],
  );
  const allowed = rechecked.flatMap(({ connection, result }) =>
    result.kind === "allowed" ? [connection] : [],
  );
  const memberships = allowed.flatMap((connection) =>
    connection.channels.map((channel) => ({
      connection,
      channel,
      result: recheckChannelRules(services, connection, channel),
    })),
  );
  const lostMemberships = memberships.flatMap(({ connection, channel, result }) =>
    result.kind === "lost" ? [{ connection, channel, ...result }] : [],
  );
  const closed = await services.store.connections.closeMany(
    ended.map(({ connection }) => connection.id),
    ENDED[revocation.scope] ?? PERMISSION_ENDED,
  );
  // Only the process that closed the row notifies. Rows that were closed before still need a
  // notice.
  const toEnd = ended.filter(({ connection }) => closed.has(connection.id) || connection.isClosed);
  const left = await services.store.memberships.loseMany(lostMemberships);
  const withReference = <Lost extends LostAccess>(losses: readonly Lost[]) =>
    losses.map((loss) => ({ ...loss, reference: recordLoss(services, revocation, loss) }));
  const ofOtherApps = [...rechecked, ...memberships].filter(({ result }) => result.kind === "other-app");
  const toAuthorize = memberships.filter(
    ({ channel, result }) =>
      result.kind === "allowed" && (services.definitions.channels.match(channel)?.authorize.length ?? 0) > 0,
  );
  const recheckedPage = {
    revocation,
    closed: withReference(toEnd),
    left: withReference(left),
    toAuthorize,
    unknown: new Set(ofOtherApps.map(({ connection }) => connection.id)).size,
  };
  await services.reports.decisionLog.flush();
  return recheckedPage;
}

/**
 * Checks a connection. The rows of an ended session or deleted user were closed with the change.
 */
function recheckConnection(
  services: RevocationServices,
  connection: ConnectionWithChannels,
  { scope, isTakenOver }: Revocation,
): RecheckResult {
  const ended = ENDED[scope];
  if (ended !== undefined) {
    const message = `The connection was closed (${ended}). Sign in with an active user to connect again.`;
    const denial = new ForbiddenError(message, { reason: "session" });
    return { kind: "lost", denial, context: decisionContextOf(connection) };
  }
  if (!isTakenOver || !connection.isClosed) return recheckView(services, connection);
  return recheckClosed(services, connection);
}

/**
 * Checks a connection whose row was closed by a process that stopped before it notified the client.
 *
 * The permission can have been granted again since then. The client is notified anyway, because
 * its row is closed.
 */
function recheckClosed(services: RevocationServices, connection: ConnectionWithChannels): RecheckResult {
  const result = recheckView(services, connection);
  if (result.kind === "lost") return result;
  const message =
    "A permission of the connection ended, and the process that closed it stopped. Connect again.";
  const denial = new ForbiddenError(message, { reason: "permission" });
  return { kind: "lost", denial, context: decisionContextOf(connection) };
}

/**
 * Returns whether a change of this scope closes every connection it affects, regardless of rules.
 */
export function closesEveryConnection(scope: Revocation["scope"]): boolean {
  return ENDED[scope] !== undefined;
}

const ENDED: Partial<Record<Revocation["scope"], string>> = {
  session: "session ended",
  "deleted-user": "user was deleted",
};
