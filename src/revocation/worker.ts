import type { Kysely } from "kysely";
import type { ChangedSubject } from "../access/changed-subjects.ts";
import type { Eviction } from "../access/evictions.ts";
import { type ClockReading, msSince, readClocks } from "../elapsed.ts";
import { RefusedError, StorageError } from "../errors.ts";
import type { SessionSelector } from "../sessions/session-selector.ts";
import { PAGE_SIZE, RIGHT_ENDED, type SessionWithChannels } from "../sessions/sessions.ts";
import type { Tables } from "../storage/database.ts";
import type { Rooms } from "./rooms.ts";
import { type Standing, standingByRules, standingOfView, trailOf } from "./standing.ts";
import { type EndedPage, keepLoss, type Loss, Telling } from "./tell-ended.ts";

/** How many sessions lost something; and how many are, or are in a channel, another app's, who must look as well. */
interface Consequences {
  readonly lost: number;
  readonly unknown: number;
}

/** Records that are enforced at the same time. */
const AT_ONCE = 8;

/** Draws the consequences of recorded changes of rights for open sockets. */
export class Enforcer {
  readonly #rooms: Rooms;
  /** Records in hand, each with how many sessions lost something. */
  readonly #inHand = new Map<string, Promise<number>>();
  /** Records that failed half-way here, and why: some of their sockets may have lost their rows and have been told nothing. */
  readonly #halfDone = new Map<string, unknown>();

  /** When records and ended grants were last looked for. */
  #lookedAt: ClockReading | undefined;

  constructor(rooms: Rooms) {
    this.#rooms = rooms;
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
    await expireGrants(this.#rooms);
    const mine: Promise<number>[] = [];
    for (;;) {
      while (this.isFull) await Promise.race(this.#inHand.values());
      const eviction = await this.#rooms.evictions.claim({ except: new Set(this.#inHand.keys()) });
      if (!eviction) break;
      mine.push(this.#take(eviction));
    }
    const lost = await Promise.all(mine);
    await this.#rooms.decisionLog.settle();
    await this.#rooms.decisionLog.sweep();
    await this.#rooms.endedSessions.sweep();
    return lost.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Enforces one change's record, whatever else is under way: nobody waits for hooks about somebody else.
   *
   * @throws StorageError where the database failed before it was done. The record stays, and is claimed again
   */
  async enforceOne(id: string): Promise<void> {
    const { evictions, database, onError } = this.#rooms;
    try {
      const eviction =
        this.#inHand.has(id) || (await evictions.claim({ except: new Set(this.#inHand.keys()), only: id }));
      // Claimed in between by a loop of this process, it is in hand now.
      if (typeof eviction === "object") await this.#take(eviction);
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

  #take(eviction: Eviction): Promise<number> {
    const known = this.#inHand.get(eviction.id);
    if (known) return known;
    const enforcing = this.#enforce(eviction).finally(() => this.#inHand.delete(eviction.id));
    this.#inHand.set(eviction.id, enforcing);
    return enforcing;
  }

  async #enforce(eviction: Eviction): Promise<number> {
    const { evictions, onError } = this.#rooms;
    const { id } = eviction;
    const isTakenOver = eviction.isTakenOver || this.#halfDone.has(id);
    try {
      const { lost, unknown } = await evictions.withLease(id, (advanced) =>
        enforceRecord(this.#rooms, { ...eviction, isTakenOver }, advanced),
      );
      if (unknown > 0) await evictions.leaveToOthers(id);
      else await evictions.finish(id);
      this.#halfDone.delete(id);
      return lost;
    } catch (error) {
      // The change itself is committed. Its record stays and is claimed again when the lease is over.
      this.#halfDone.set(id, error);
      onError(error, `enforcing a change of ${eviction.scope} ${eviction.subject}`);
      await evictions.postpone(id).catch((failure) => onError(failure, "postponing an eviction"));
      return 0;
    }
  }
}

/** Grants that one transaction ends. Other writers wait for it, and get their turn before the next one. */
const GRANTS_PER_BATCH = 500;
/** With more users whose grants end together, one record lists them all, and none of them is told which entry it was. */
const RECORDS_PER_EXPIRY = 100;

/** Grants stop applying when they end. This is for the connections that are open because of them. */
async function expireGrants(rooms: Rooms): Promise<void> {
  if (!(await rooms.grants.hasExpired())) return;
  for (;;) {
    const subjects = await rooms.database.write((db) => expireBatch(rooms, db));
    rooms.changedSubjects.mark(subjects);
    if (subjects.length < GRANTS_PER_BATCH) return;
  }
}

/** Ends up to {@link GRANTS_PER_BATCH} grants in at most nine statements. @returns what each of them changed */
async function expireBatch(
  { evictions, changeLog, grants, audit }: Rooms,
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
  if (isListed) await evictions.record(db, { scope: "users", users: [...users.keys()] }, null);
  await evictions.recordMany(db, [
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
async function enforceRecord(rooms: Rooms, eviction: Eviction, advanced: () => void): Promise<Consequences> {
  const telling = new Telling(rooms, advanced);
  let unknown = 0;
  try {
    for (let after = ""; ; ) {
      const page = await rooms.sessions.page(selectorOf(eviction), after, eviction);
      advanced();
      const ended = await endByRules(rooms, eviction, page);
      unknown += ended.unknown;
      telling.begin(ended);
      if (page.length < PAGE_SIZE) break;
      after = page.at(-1)?.id ?? "";
      await telling.room();
      if (rooms.delivery.isShut) break;
    }
  } finally {
    await telling.settled();
  }
  if (rooms.delivery.isShut) throw new Error("The app was closed meanwhile.");
  return { lost: telling.lost(), unknown };
}

/**
 * What rights alone decide, for all of a page at once: rows are closed and channels left before any socket is told, or anybody
 * asked.
 */
async function endByRules(
  rooms: Rooms,
  eviction: Eviction,
  page: readonly SessionWithChannels[],
): Promise<EndedPage> {
  const judged = page.map((session) => ({ session, standing: standingOf(rooms, session, eviction) }));
  const ended = judged.flatMap(({ session, standing }) =>
    standing.kind === "lost" ? [{ session, ...standing }] : [],
  );
  const kept = judged.flatMap(({ session, standing }) => (standing.kind === "stands" ? [session] : []));
  const stays = kept.flatMap((session) =>
    session.channels.map((channel) => ({
      session,
      channel,
      standing: standingByRules(rooms, session, channel),
    })),
  );
  const leaving = stays.flatMap(({ session, channel, standing }) =>
    standing.kind === "lost" ? [{ session, channel, ...standing }] : [],
  );
  const closed = await rooms.sessions.closeMany(
    ended.map(({ session }) => session.id),
    ENDED[eviction.scope] ?? RIGHT_ENDED,
  );
  // Whoever closed the row tells the socket; a row that was closed before is here for just that.
  const toEnd = ended.filter(({ session }) => closed.has(session.id) || session.isClosed);
  const left = await rooms.memberships.leaveMany(leaving);
  const withReference = <Lost extends Loss>(losses: readonly Lost[]) =>
    losses.map((loss) => ({ ...loss, reference: keepLoss(rooms, eviction, loss) }));
  const foreign = [...judged, ...stays].filter(({ standing }) => standing.kind === "foreign");
  const asked = stays.filter(
    ({ channel, standing }) =>
      standing.kind === "stands" && (rooms.channels.match(channel)?.authorize.length ?? 0) > 0,
  );
  const endedPage = {
    eviction,
    closed: withReference(toEnd),
    left: withReference(left),
    asked,
    unknown: new Set(foreign.map(({ session }) => session.id)).size,
  };
  await rooms.decisionLog.flush();
  return endedPage;
}

/** The rows of an ended login or deleted user were closed in that transaction, whatever view they are of. */
function standingOf(rooms: Rooms, session: SessionWithChannels, { scope, isTakenOver }: Eviction): Standing {
  const ended = ENDED[scope] ?? (isTakenOver && session.isClosed ? RIGHT_ENDED : undefined);
  if (ended === undefined) return standingOfView(rooms, session);
  const refused = new RefusedError(`The ${ended}, and its sockets with it.`, { reason: "login" });
  return { kind: "lost", refusal: refused, trail: trailOf(session) };
}

/** Which sessions a change can have touched. */
export function selectorOf({
  id,
  scope,
  subject,
}: Pick<Eviction, "id" | "scope" | "subject">): SessionSelector {
  switch (scope) {
    case "user":
      return { kind: "user", userId: subject };
    case "users":
      return { kind: "listed", evictionId: id };
    case "deleted-user":
      return { kind: "deleted-user", userId: subject };
    case "group":
      return { kind: "group", group: subject };
    case "login":
      return { kind: "login", loginId: subject };
    case "channel":
      return { kind: "channel", channel: subject };
    case "view":
      return { kind: "view", view: subject };
    case "everyone":
      return { kind: "all" };
  }
}

/** Whether a change of this scope ends every session it touches, whatever the rules say. */
export function isEnded(scope: Eviction["scope"]): boolean {
  return ENDED[scope] !== undefined;
}

const ENDED: Partial<Record<Eviction["scope"], string>> = {
  login: "login ended",
  "deleted-user": "user was deleted",
};
