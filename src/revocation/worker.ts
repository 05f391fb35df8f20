import type { Kysely } from "kysely";
import { type ConnectionWithChannels, PAGE_SIZE, PERMISSION_ENDED } from "../connections/connections.ts";
import type { ConnectionSelector } from "../connections/selector.ts";
import { type ClockReading, msSince, readClocks } from "../elapsed.ts";
import { RefusedError, StorageError } from "../errors.ts";
import type { Services } from "../services.ts";
import type { Tables } from "../storage/database.ts";
import type { ChangedSubject } from "./changed-subjects.ts";
import { type EndedPage, keepLoss, type LostAccess, RevocationNotifier } from "./notify.ts";
import type { Revocation } from "./queue.ts";
import { decisionContextOf, type RecheckResult, recheckChannelRules, recheckView } from "./recheck.ts";

/** How many sessions lost something; and how many are, or are in a channel, another app's, who must look as well. */
interface RevocationOutcome {
  readonly lost: number;
  readonly unknown: number;
}

/** Records that are enforced at the same time. */
const AT_ONCE = 8;

/** Draws the consequences of recorded changes of rights for open sockets. */
export class RevocationWorker {
  readonly #services: Services;
  /** Records in hand, each with how many sessions lost something. */
  readonly #inHand = new Map<string, Promise<number>>();
  /** Records that failed half-way here, and why: some of their sockets may have lost their rows and have been told nothing. */
  readonly #halfDone = new Map<string, unknown>();

  /** When records and ended grants were last looked for. */
  #lookedAt: ClockReading | undefined;

  constructor(services: Services) {
    this.#services = services;
  }

  /** Whether the last look for records and ended grants was so long ago. */
  isDue(everyMs: number): boolean {
    return this.#lookedAt === undefined || msSince(this.#lookedAt) >= everyMs;
  }

  /** Whether one more record would wait. */
  get isFull(): boolean {
    return this.#inHand.size >= AT_ONCE;
  }

  /**
   * Enforces every record that is this process's or nobody's. Those in hand already are left to whoever has them.
   *
   * @returns how many sessions lost their view or a channel
   */
  async enforce(): Promise<number> {
    this.#lookedAt = readClocks();
    await expireGrants(this.#services);
    const mine: Promise<number>[] = [];
    for (;;) {
      while (this.isFull) await Promise.race(this.#inHand.values());
      const revocation = await this.#services.revocations.dequeue({ except: new Set(this.#inHand.keys()) });
      if (!revocation) break;
      mine.push(this.#take(revocation));
    }
    const lost = await Promise.all(mine);
    await this.#services.decisionLog.settle();
    await this.#services.decisionLog.sweep();
    await this.#services.endedSessions.sweep();
    return lost.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Enforces one change's record, whatever else is under way: nobody waits for hooks about somebody else.
   *
   * @throws StorageError where the database failed before it was done. The record stays, and is claimed again
   */
  async enforceOne(id: string): Promise<void> {
    const { revocations, database, onError } = this.#services;
    try {
      const revocation =
        this.#inHand.has(id) ||
        (await revocations.dequeue({ except: new Set(this.#inHand.keys()), only: id }));
      // Claimed in between by a loop of this process, it is in hand now.
      if (typeof revocation === "object") await this.#take(revocation);
      else await this.#inHand.get(id);
    } catch (error) {
      onError(error, "claiming a change of permissions");
      throw database.failure(error);
    }
    const failure = database.failure(this.#halfDone.get(id));
    if (failure instanceof StorageError) throw failure;
  }

  /** Resolves when what is in hand now is done. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#inHand.values());
  }

  #take(revocation: Revocation): Promise<number> {
    const known = this.#inHand.get(revocation.id);
    if (known) return known;
    const enforcing = this.#enforce(revocation).finally(() => this.#inHand.delete(revocation.id));
    this.#inHand.set(revocation.id, enforcing);
    return enforcing;
  }

  async #enforce(revocation: Revocation): Promise<number> {
    const { revocations, onError } = this.#services;
    const { id } = revocation;
    const isTakenOver = revocation.isTakenOver || this.#halfDone.has(id);
    try {
      const { lost, unknown } = await revocations.withLease(id, (advanced) =>
        enforceRecord(this.#services, { ...revocation, isTakenOver }, advanced),
      );
      if (unknown > 0) await revocations.completeForThisApp(id);
      else await revocations.finish(id);
      this.#halfDone.delete(id);
      return lost;
    } catch (error) {
      // The change itself is committed. Its record stays and is claimed again when the lease is over.
      this.#halfDone.set(id, error);
      onError(error, `enforcing a change of ${revocation.scope} ${revocation.subject}`);
      await revocations.postpone(id).catch((failure) => onError(failure, "postponing an eviction"));
      return 0;
    }
  }
}

/** Grants that one transaction ends. Other writers wait for it, and get their turn before the next one. */
const GRANTS_PER_BATCH = 500;
/** With more users whose grants end together, one record lists them all, and none of them is told which entry it was. */
const RECORDS_PER_EXPIRY = 100;

/** Grants stop applying when they end. This is for the connections that are open because of them. */
async function expireGrants(services: Services): Promise<void> {
  if (!(await services.grants.hasExpired())) return;
  for (;;) {
    const subjects = await services.database.transaction((db) => expireBatch(services, db));
    services.changedSubjects.mark(subjects);
    if (subjects.length < GRANTS_PER_BATCH) return;
  }
}

/** Ends up to {@link GRANTS_PER_BATCH} grants in at most nine statements. @returns what each of them changed */
async function expireBatch(
  { revocations, changeLog, grants, audit }: Services,
  db: Kysely<Tables>,
): Promise<readonly ChangedSubject[]> {
  const expired = await grants.expire(db, GRANTS_PER_BATCH);
  if (expired.length === 0) return [];
  const first = await changeLog.numbers(db, expired.length);
  const subjects = expired.map(
    ({ user, group }): ChangedSubject =>
      user === null ? { scope: "group", subject: group ?? "" } : { scope: "user", subject: user },
  );
  await changeLog.record(
    db,
    subjects.map((subject, index) => ({ number: first + index, subjects: [subject], removes: true })),
  );
  await audit.recordMany(
    db,
    first,
    expired.map(({ user, group, permission, until }) => ({
      ...{ action: "expired", by: "sallyport", user, group, permission },
      details: { until },
    })),
  );
  const users = new Map<string, number>();
  const groups = new Map<string, number>();
  subjects.forEach(({ scope, subject }, index) => {
    (scope === "user" ? users : groups).set(subject, first + index);
  });
  const isListed = users.size > RECORDS_PER_EXPIRY;
  if (isListed) await revocations.record(db, { scope: "users", users: [...users.keys()] }, null);
  await revocations.recordMany(db, [
    ...[...groups].map(([subject, change]) => ({ scope: "group", subject, change }) as const),
    ...(isListed ? [] : [...users].map(([subject, change]) => ({ scope: "user", subject, change }) as const)),
  ]);
  return subjects;
}

/**
 * Lost the view: notice, then closed. Lost a channel: left, with a notice; the socket stays. Doing it twice does no
 * harm, so a record is finished only when all its pages are done.
 *
 * @param advanced is called whenever it has come further
 * @throws Error when the app is closed meanwhile, and for the first thing that failed when everything else is done
 */
async function enforceRecord(
  services: Services,
  revocation: Revocation,
  advanced: () => void,
): Promise<RevocationOutcome> {
  const telling = new RevocationNotifier(services, advanced);
  let unknown = 0;
  try {
    for (let after = ""; ; ) {
      const page = await services.connections.page(selectorOf(revocation), after, revocation);
      advanced();
      const ended = await endByRules(services, revocation, page);
      unknown += ended.unknown;
      telling.begin(ended);
      if (page.length < PAGE_SIZE) break;
      after = page.at(-1)?.id ?? "";
      await telling.room();
      if (services.delivery.isShut) break;
    }
  } finally {
    await telling.settled();
  }
  if (services.delivery.isShut) throw new Error("The app was closed meanwhile.");
  return { lost: telling.lost(), unknown };
}

/**
 * What rights alone decide, for all of a page at once: rows are closed and channels left before any socket is told, or anybody
 * asked.
 */
async function endByRules(
  services: Services,
  revocation: Revocation,
  page: readonly ConnectionWithChannels[],
): Promise<EndedPage> {
  const judged = page.map((connection) => ({
    connection,
    standing: standingOf(services, connection, revocation),
  }));
  const ended = judged.flatMap(({ connection, standing }) =>
    standing.kind === "lost" ? [{ connection, ...standing }] : [],
  );
  const kept = judged.flatMap(({ connection, standing }) => (standing.kind === "stands" ? [connection] : []));
  const stays = kept.flatMap((connection) =>
    connection.channels.map((channel) => ({
      connection,
      channel,
      standing: recheckChannelRules(services, connection, channel),
    })),
  );
  const leaving = stays.flatMap(({ connection, channel, standing }) =>
    standing.kind === "lost" ? [{ connection, channel, ...standing }] : [],
  );
  const closed = await services.connections.closeMany(
    ended.map(({ connection }) => connection.id),
    ENDED[revocation.scope] ?? PERMISSION_ENDED,
  );
  // Whoever closed the row tells the socket; a row that was closed before is here for just that.
  const toEnd = ended.filter(({ connection }) => closed.has(connection.id) || connection.isClosed);
  const left = await services.memberships.leaveMany(leaving);
  const withReference = <Lost extends LostAccess>(losses: readonly Lost[]) =>
    losses.map((loss) => ({ ...loss, reference: keepLoss(services, revocation, loss) }));
  const foreign = [...judged, ...stays].filter(({ standing }) => standing.kind === "foreign");
  const asked = stays.filter(
    ({ channel, standing }) =>
      standing.kind === "stands" && (services.channels.match(channel)?.authorize.length ?? 0) > 0,
  );
  const endedPage = {
    revocation,
    closed: withReference(toEnd),
    left: withReference(left),
    asked,
    unknown: new Set(foreign.map(({ connection }) => connection.id)).size,
  };
  await services.decisionLog.flush();
  return endedPage;
}

/** The rows of an ended login or deleted user were closed in that transaction, whatever view they are of. */
function standingOf(
  services: Services,
  connection: ConnectionWithChannels,
  { scope, isTakenOver }: Revocation,
): RecheckResult {
  const ended = ENDED[scope] ?? (isTakenOver && connection.isClosed ? PERMISSION_ENDED : undefined);
  if (ended === undefined) return recheckView(services, connection);
  const refused = new RefusedError(`The ${ended}, and its sockets with it.`, { reason: "session" });
  return { kind: "lost", refusal: refused, context: decisionContextOf(connection) };
}

/** Which sessions a change can have touched. */
export function selectorOf({
  id,
  scope,
  subject,
}: Pick<Revocation, "id" | "scope" | "subject">): ConnectionSelector {
  switch (scope) {
    case "user":
      return { kind: "user", userId: subject };
    case "users":
      return { kind: "listed", revocationId: id };
    case "deleted-user":
      return { kind: "deleted-user", userId: subject };
    case "group":
      return { kind: "group", group: subject };
    case "session":
      return { kind: "session", sessionId: subject };
    case "channel":
      return { kind: "channel", channel: subject };
    case "view":
      return { kind: "view", view: subject };
    case "everyone":
      return { kind: "all" };
  }
}

/** Whether a change of this scope ends every session it touches, whatever the rules say. */
export function isEnded(scope: Revocation["scope"]): boolean {
  return ENDED[scope] !== undefined;
}

const ENDED: Partial<Record<Revocation["scope"], string>> = {
  session: "session ended",
  "deleted-user": "user was deleted",
};
