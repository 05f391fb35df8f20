import { AsyncLocalStorage } from "node:async_hooks";
import { newReference, refusal, type Trail } from "../access/decisions.ts";
import type { Eviction } from "../access/evictions.ts";
import { encodeFrame, type Outcome, type StillPermitted } from "../delivery/delivery.ts";
import { RefusedError } from "../errors.ts";
import type { RevokedNotice } from "../protocol/frames.ts";
import type { SessionSelector } from "../sessions/session-selector.ts";
import { PAGE_SIZE, type SessionWithChannels } from "../sessions/sessions.ts";
import { recipientOf } from "./deliver.ts";
import type { Rooms } from "./rooms.ts";
import { type Standing, standingByRules, standingInChannel, standingOfView, trailOf } from "./standing.ts";

/** How many sessions lost something; and how many are, or are in a channel, another app's, who must look as well. */
interface Consequences {
  readonly lost: number;
  readonly unknown: number;
}

/** Something lost, and why. */
interface Loss {
  readonly refusal: RefusedError;
  readonly trail: Trail;
}

/** Draws the consequences of recorded changes of rights for open sockets, one enforcement after the other. */
export class Enforcer {
  readonly #rooms: Rooms;
  readonly #enforcing = new AsyncLocalStorage<true>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(rooms: Rooms) {
    this.#rooms = rooms;
  }

  /**
   * Enforces every record that is this process's or nobody's. Those of changes committed here before the call are
   * done when it resolves, whoever in this process did them.
   *
   * @returns how many sessions lost their view or a channel
   */
  enforce(): Promise<number> {
    // A hook asked by an enforcement may change rights itself; that enforcement comes to its record, too.
    if (this.#enforcing.getStore()) return Promise.resolve(0);
    const mine = this.#last.then(() => this.#enforcing.run(true, () => enforceAll(this.#rooms)));
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}

async function enforceAll(rooms: Rooms): Promise<number> {
  await expireGrants(rooms);
  let evicted = 0;
  for (;;) {
    const eviction = await rooms.evictions.claim();
    if (!eviction) break;
    try {
      const { lost, unknown } = await enforceOne(rooms, eviction);
      evicted += lost;
      if (unknown > 0) await rooms.evictions.postpone(eviction.id);
      else await rooms.evictions.finish(eviction.id);
    } catch (error) {
      // The change itself is committed. Its record stays and is claimed again when the lease is over.
      await rooms.evictions.postpone(eviction.id);
      rooms.onError(error, `enforcing a change of ${eviction.scope} ${eviction.subject}`);
    }
  }
  await rooms.decisionLog.settle();
  await rooms.decisionLog.sweep();
  return evicted;
}

/** Grants whose end has come counted for nothing from that moment on; this is for the sockets open on them. */
async function expireGrants(rooms: Rooms): Promise<void> {
  if (!(await rooms.grants.hasExpired())) return;
  await rooms.database.write(async (db) => {
    const expired = await rooms.grants.expire(db);
    let number = 0;
    for (const { user, group, permission, until } of expired) {
      number = await rooms.evictions.number(db);
      const details = { until };
      await rooms.audit.record(db, number, {
        action: "expired",
        by: "sallyport",
        user,
        group,
        permission,
        details,
      });
    }
    const users = [...new Set(expired.flatMap(({ user }) => user ?? []))];
    if (users.length > 0) await rooms.evictions.record(db, { scope: "users", users }, number);
    for (const { user, group } of expired) {
      if (user === null && group !== null)
        await rooms.evictions.record(db, { scope: "group", subject: group }, number);
    }
  });
  rooms.changes.mark();
}

/**
 * Lost the view: notice, then closed. Lost a channel: left, with a notice; the socket stays. Doing it twice does no
 * harm, so a record is finished only when all its pages are done.
 */
async function enforceOne(rooms: Rooms, eviction: Eviction): Promise<Consequences> {
  const total = { lost: 0, unknown: 0 };
  for (let after = ""; ; ) {
    const page = await rooms.sessions.page(selectorOf(eviction), after);
    const { lost, unknown } = await enforcePage(rooms, eviction, page);
    total.lost += lost;
    total.unknown += unknown;
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return total;
    await rooms.evictions.renew(eviction.id);
  }
}

/**
 * What rights alone decide comes first, for all of a page at once: rows are closed and channels left before any socket is
 * told, and nobody's eviction waits for the author's hooks about somebody else.
 */
async function enforcePage(
  rooms: Rooms,
  eviction: Eviction,
  page: readonly SessionWithChannels[],
): Promise<Consequences> {
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
  const left = stays.flatMap(({ session, channel, standing }) =>
    standing.kind === "lost" ? [{ session, channel, ...standing }] : [],
  );
  await rooms.sessions.closeMany(
    ended.map(({ session }) => session.id),
    ENDED[eviction.scope] ?? "right ended",
  );
  await rooms.memberships.leaveMany(left.map(({ session, channel }) => ({ sessionId: session.id, channel })));
  const asked = stays.filter(({ standing }) => standing.kind === "stands");
  const [byHooks] = await Promise.all([
    Promise.all(asked.map(({ session, channel }) => askHooks(rooms, eviction, session, channel))),
    ...ended.map((loss) => endSession(rooms, loss.session, keep(rooms, eviction, loss))),
    ...left.map((loss) => tellLeft(rooms, eviction, loss)),
  ]);
  const lost = [...ended, ...left].map(({ session }) => session.id);
  const foreign = [...judged, ...stays].filter(({ standing }) => standing.kind === "foreign");
  return {
    lost: new Set([...lost, ...byHooks.flat()]).size,
    unknown: new Set(foreign.map(({ session }) => session.id)).size,
  };
}

/** The rows of an ended login or deleted user were closed in that transaction, whatever view they are of. */
function standingOf(rooms: Rooms, session: SessionWithChannels, { scope }: Eviction): Standing {
  const ended = ENDED[scope];
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
  const standing = await standingInChannel(rooms, session, channel);
  if (standing.kind !== "lost") return [];
  await rooms.memberships.leaveMany([{ sessionId: session.id, channel }]);
  await tellLeft(rooms, eviction, { session, channel, ...standing });
  return [session.id];
}

async function tellLeft(
  rooms: Rooms,
  eviction: Eviction,
  loss: Loss & { readonly session: SessionWithChannels; readonly channel: string },
): Promise<void> {
  const { session, channel } = loss;
  const reference = keep(rooms, eviction, loss);
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
