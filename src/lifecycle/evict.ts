import type { ChangedSubject } from "../access/changed-subjects.ts";
import type { Eviction } from "../access/evictions.ts";
import { RefusedError } from "../errors.ts";
import type { SessionSelector } from "../sessions/session-selector.ts";
import { PAGE_SIZE, RIGHT_ENDED, type SessionWithChannels } from "../sessions/sessions.ts";
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
  /** Records that failed half-way here: some of their sockets may have lost their rows and have been told nothing. */
  readonly #halfDone = new Set<string>();

  constructor(rooms: Rooms) {
    this.#rooms = rooms;
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

  /** Enforces one change's record, whatever else is under way: nobody waits for hooks about somebody else. */
  async enforceOne(id: string): Promise<void> {
    const eviction =
      this.#inHand.has(id) ||
      (await this.#rooms.evictions.claim({ except: new Set(this.#inHand.keys()), only: id }));
    // Claimed in between by a loop of this process, it is in hand now.
    if (typeof eviction === "object") await this.#take(eviction);
    else await this.#inHand.get(id);
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
      this.#halfDone.add(id);
      onError(error, `enforcing a change of ${eviction.scope} ${eviction.subject}`);
      await evictions.postpone(id).catch((failure) => onError(failure, "postponing an eviction"));
      return 0;
    }
  }
}

/** Grants whose end has come counted for nothing from that moment on; this is for the sockets open on them. */
async function expireGrants(rooms: Rooms): Promise<void> {
  if (!(await rooms.grants.hasExpired())) return;
  const { evictions, changeLog } = rooms;
  let subjects: ChangedSubject[] = [];
  await rooms.database.write(async (db) => {
    const expired = await rooms.grants.expire(db);
    subjects = [];
    const last = new Map<string, number>();
    for (const { user, group, permission, until } of expired) {
      const scope: ChangedSubject =
        user === null ? { scope: "group", subject: group ?? "" } : { scope: "user", subject: user };
      subjects.push(scope);
      const number = await changeLog.append(db, [scope]);
      const subject = { user, group, permission, details: { until } };
      await rooms.audit.record(db, number, { action: "expired", by: "sallyport", ...subject });
      if (user !== null) last.set(user, number);
      else if (group !== null) await evictions.record(db, { scope: "group", subject: group }, number);
    }
    if (last.size > RECORDS_PER_EXPIRY) {
      await evictions.record(db, { scope: "users", users: [...last.keys()] }, null);
      return;
    }
    for (const [user, number] of last) await evictions.record(db, { scope: "user", subject: user }, number);
  });
  rooms.changedSubjects.mark(subjects);
}

/** With more users whose grants end together, one record lists them all, and none of them is told which entry it was. */
const RECORDS_PER_EXPIRY = 100;

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
