import pLimit, { type LimitFunction } from "p-limit";
import { newReference, refusal, type Trail } from "../access/decisions.ts";
import type { Eviction } from "../access/evictions.ts";
import type { Outcome, StillPermitted } from "../delivery/delivery.ts";
import { encodeFrame } from "../delivery/frame.ts";
import { RefusedError } from "../errors.ts";
import type { RevokedNotice } from "../protocol/frames.ts";
import type { SessionSelector } from "../sessions/session-selector.ts";
import { PAGE_SIZE, RIGHT_ENDED, type SessionWithChannels } from "../sessions/sessions.ts";
import { recipientOf } from "./recipients.ts";
import type { Rooms } from "./rooms.ts";
import {
  HOOK_DEADLINE_MS,
  type Standing,
  standingByRules,
  standingInChannel,
  standingOfView,
  trailOf,
} from "./standing.ts";

/** How many sessions lost something; and how many are, or are in a channel, another app's, who must look as well. */
interface Consequences {
  readonly lost: number;
  readonly unknown: number;
}

/** A page whose rows are closed and whose channels are left: what its sockets are still to hear, and whom hooks are asked about. */
interface EndedPage {
  readonly closed: readonly Told[];
  readonly left: readonly (Told & { readonly channel: string })[];
  readonly asked: readonly { readonly session: SessionWithChannels; readonly channel: string }[];
  readonly unknown: number;
}

/** What a socket is told by. */
interface Told {
  readonly session: SessionWithChannels;
  readonly reference: string;
}

/** Something lost, and why. */
interface Loss {
  readonly refusal: RefusedError;
  readonly trail: Trail;
}

/** Records that are enforced at the same time. */
const AT_ONCE = 8;
/** Pages of a record whose sockets are being told at the same time: a silent gateway's do not keep the others waiting. */
const PAGES_AT_ONCE = 20;
/** Sessions of a record that hooks are asked about at the same time. */
const ASKED_AT_ONCE = 500;

/** Draws the consequences of recorded changes of rights for open sockets. */
export class Enforcer {
  readonly #rooms: Rooms;
  /** Records in hand, each with how many sessions lost something. */
  readonly #inHand = new Map<string, Promise<number>>();

  constructor(rooms: Rooms) {
    this.#rooms = rooms;
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
      while (this.#inHand.size >= AT_ONCE) await Promise.race(this.#inHand.values());
      const eviction = await this.#rooms.evictions.claim({ except: new Set(this.#inHand.keys()) });
      if (!eviction) break;
      mine.push(this.#take(eviction));
    }
    const lost = await Promise.all(mine);
    await this.#rooms.decisionLog.settle();
    await this.#rooms.decisionLog.sweep();
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
    try {
      const { lost, unknown } = await evictions.holding(eviction.id, () =>
        enforceRecord(this.#rooms, eviction),
      );
      if (unknown > 0) await evictions.leaveToOthers(eviction.id);
      else await evictions.finish(eviction.id);
      return lost;
    } catch (error) {
      // The change itself is committed. Its record stays and is claimed again when the lease is over.
      onError(error, `enforcing a change of ${eviction.scope} ${eviction.subject}`);
      await evictions.postpone(eviction.id).catch((failure) => onError(failure, "postponing an eviction"));
      return 0;
    }
  }
}

/** Grants whose end has come counted for nothing from that moment on; this is for the sockets open on them. */
async function expireGrants(rooms: Rooms): Promise<void> {
  if (!(await rooms.grants.hasExpired())) return;
  const { evictions } = rooms;
  let committed = 0;
  await rooms.database.write(async (db) => {
    const expired = await rooms.grants.expire(db);
    committed = expired.length;
    const last = new Map<string, number>();
    for (const { user, group, permission, until } of expired) {
      const number = await evictions.number(db);
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
  for (let count = 0; count < committed; count++) evictions.committed();
  rooms.changes.mark();
}

/** With more users whose grants end together, one record lists them all, and none of them is told which entry it was. */
const RECORDS_PER_EXPIRY = 100;

/**
 * Lost the view: notice, then closed. Lost a channel: left, with a notice; the socket stays. Doing it twice does no
 * harm, so a record is finished only when all its pages are done.
 *
 * @throws Error when the app is closed meanwhile
 */
async function enforceRecord(rooms: Rooms, eviction: Eviction): Promise<Consequences> {
  const total = { lost: 0, unknown: 0 };
  const asking = pLimit(ASKED_AT_ONCE);
  const telling = new Set<Promise<void>>();
  try {
    for (let after = ""; ; ) {
      const page = await rooms.sessions.page(selectorOf(eviction), after, eviction);
      const ended = await endByRules(rooms, eviction, page);
      total.unknown += ended.unknown;
      const told: Promise<void> = tellAndAsk(rooms, eviction, ended, asking).then((lost) => {
        total.lost += lost;
        telling.delete(told);
      });
      telling.add(told);
      // Its failure is told below, however much later.
      told.catch(() => undefined);
      if (rooms.delivery.isShut) throw new Error("The app was closed meanwhile.");
      if (page.length < PAGE_SIZE) break;
      after = page.at(-1)?.id ?? "";
      if (telling.size >= PAGES_AT_ONCE) await Promise.race(telling);
    }
    await Promise.all(telling);
  } finally {
    // Of several failures the first is told.
    await Promise.allSettled(telling);
  }
  if (rooms.delivery.isShut) throw new Error("The app was closed meanwhile.");
  return total;
}

/**
 * What rights alone decide, for all of a page at once: rows are closed and channels left before any socket is told, and nobody's
 * eviction waits for the author's hooks about somebody else, or for a gateway that says nothing.
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
  const told = <Lost extends Loss>(losses: readonly Lost[]) =>
    losses.map((loss) => ({ ...loss, reference: keep(rooms, eviction, loss) }));
  const foreign = [...judged, ...stays].filter(({ standing }) => standing.kind === "foreign");
  const consequences = {
    closed: told(toEnd),
    left: told(left),
    asked: stays.filter(({ standing }) => standing.kind === "stands"),
    unknown: new Set(foreign.map(({ session }) => session.id)).size,
  };
  await rooms.decisionLog.flush();
  return consequences;
}

/** @returns how many sessions of the page lost something, hooks included */
async function tellAndAsk(
  rooms: Rooms,
  eviction: Eviction,
  { closed, left, asked }: EndedPage,
  asking: LimitFunction,
): Promise<number> {
  const [byHooks] = await Promise.all([
    asking.map(asked, ({ session, channel }) => askHooks(rooms, eviction, session, channel)),
    ...closed.map(({ session, reference }) => endSession(rooms, session, reference)),
    ...left.map(({ session, channel, reference }) => notifyLeft(rooms, session, channel, reference)),
  ]);
  const lost = [...closed, ...left].map(({ session }) => session.id);
  return new Set([...lost, ...byHooks.flat()]).size;
}

/** The rows of an ended login or deleted user were closed in that transaction, whatever view they are of. */
function standingOf(rooms: Rooms, session: SessionWithChannels, { scope, isTakenOver }: Eviction): Standing {
  const ended = ENDED[scope] ?? (isTakenOver && session.isClosed ? RIGHT_ENDED : undefined);
  if (ended === undefined) return standingOfView(rooms, session);
  const refused = new RefusedError(`The ${ended}, and its sockets with it.`, { reason: "login" });
  return { kind: "lost", refusal: refused, trail: trailOf(session) };
}

/** @returns the session's id where it has left the channel by the author's word */
async function askHooks(
  rooms: Rooms,
  eviction: Eviction,
  session: SessionWithChannels,
  channel: string,
): Promise<readonly string[]> {
  if (rooms.channels.match(channel)?.authorize.length === 0) return [];
  const standing = await standingInChannel(rooms, session, channel, HOOK_DEADLINE_MS);
  if (standing.kind !== "lost") return [];
  if ((await rooms.memberships.leaveMany([{ session, channel }])).length === 0) return [];
  const reference = keep(rooms, eviction, standing);
  await rooms.decisionLog.flush();
  await notifyLeft(rooms, session, channel, reference);
  return [session.id];
}

async function notifyLeft(
  rooms: Rooms,
  session: SessionWithChannels,
  channel: string,
  reference: string,
): Promise<void> {
  await notify(rooms, session, { type: "sallyport.revoked", scope: "channel", channel, reference });
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

/** An eviction is a decision like any other: it has a reference and a trace. */
function keep(rooms: Rooms, eviction: Eviction, { refusal: refused, trail }: Loss): string {
  if (eviction.change !== null) trail.change = eviction.change;
  return rooms.keep(refusal(trail, refused, newReference()));
}

/** Tells a socket whose row is closed already, and closes it. */
async function endSession(rooms: Rooms, session: SessionWithChannels, reference: string): Promise<void> {
  const notified = await notify(rooms, session, { type: "sallyport.revoked", scope: "view", reference });
  const recipient = await recipientOf(rooms, session);
  if (!recipient) return;
  // A client that hangs up on its notice is gone, however young its row: it is no connection still arriving.
  const socket = notified?.kind === "sent" ? { ...recipient, connectedAt: 0 } : recipient;
  report(
    rooms,
    session,
    await rooms.delivery.close(socket, { urgent: true, stillPermitted: connected(rooms, session) }),
  );
}

async function notify(
  rooms: Rooms,
  session: SessionWithChannels,
  notice: RevokedNotice,
): Promise<Outcome | undefined> {
  const recipient = await recipientOf(rooms, session);
  if (!recipient) return undefined;
  const outcome = await rooms.delivery.post(recipient, encodeFrame(notice), {
    urgent: true,
    stillPermitted: connected(rooms, session),
  });
  report(rooms, session, outcome);
  return outcome;
}

/** Before each further try: a client that has left by itself, as after signing out, needs neither notice nor close. */
function connected(rooms: Rooms, session: SessionWithChannels): StillPermitted {
  let isFresh = true;
  return () => {
    const goOn = isFresh;
    isFresh = !isFresh;
    return goOn ? true : rooms.sessions.isConnected(session.id);
  };
}

/** The session is nobody's already; that its socket lives on is somebody's to know. */
function report(rooms: Rooms, session: SessionWithChannels, outcome: Outcome): void {
  if (outcome.kind !== "failed") return;
  const error = new Error(`The gateway did not take it: ${outcome.reason}`);
  rooms.onError(error, `evicting connection ${session.connectionId}`);
}
