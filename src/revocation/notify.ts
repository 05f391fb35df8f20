import pLimit from "p-limit";
import { newReference, refusal, type Trail } from "../access/decisions.ts";
import type { Eviction } from "../access/evictions.ts";
import type { Outcome, StillPermitted } from "../delivery/delivery.ts";
import { encodeFrame } from "../delivery/frame.ts";
import type { RefusedError } from "../errors.ts";
import type { RevokedNotice } from "../protocol/frames.ts";
import type { SessionWithChannels } from "../sessions/sessions.ts";
import { recipientOf } from "./recipients.ts";
import type { Rooms } from "./rooms.ts";
import { HOOK_DEADLINE_MS, standingInChannel } from "./standing.ts";

/** Something lost, and why. */
export interface Loss {
  readonly refusal: RefusedError;
  readonly trail: Trail;
}

/** A page whose rows are closed and whose channels are left: what its sockets are still to hear, and whom hooks are asked about. */
export interface EndedPage {
  readonly eviction: Eviction;
  readonly closed: readonly Told[];
  readonly left: readonly (Told & { readonly channel: string })[];
  readonly asked: readonly { readonly session: SessionWithChannels; readonly channel: string }[];
  /** How many sessions are, or are in a channel, another app's to judge. */
  readonly unknown: number;
}

/** What a socket is told by. */
interface Told {
  readonly session: SessionWithChannels;
  readonly reference: string;
}

/** Questions to hooks that are under way at the same time. */
const ASKED_AT_ONCE = 500;
/** How long nothing may have come of what is under way before the next page is begun even so, in milliseconds. */
const STALLED_MS = 200;
/** Sockets to be told and questions to be answered, at most, of one record: those of a silent gateway, or of silent hooks. */
const MOST_UNDER_WAY = 10_000;

/**
 * Tells the sockets of a record's pages what they have lost, and asks hooks about the others. A page is begun when the one before is
 * done, so that a large record does not fill the way to a gateway; or when nothing comes of it any more, so that a
 * silent gateway, or a silent hook, keeps none but its own waiting.
 */
export class Telling {
  readonly #rooms: Rooms;
  readonly #advanced: () => void;
  readonly #asking = pLimit(ASKED_AT_ONCE);
  #underWay = 0;
  #done = 0;
  #lost = 0;
  #failure: { readonly error: unknown } | undefined;
  #allDone: () => void = () => undefined;

  /** @param advanced is called whenever something has come of it */
  constructor(rooms: Rooms, advanced: () => void) {
    this.#rooms = rooms;
    this.#advanced = advanced;
  }

  begin({ eviction, closed, left, asked }: EndedPage): void {
    const rooms = this.#rooms;
    const lost = new Set([...closed, ...left].map(({ session }) => session.id));
    this.#lost += lost.size;
    const askAbout = async ({ session, channel }: EndedPage["asked"][number]) => {
      if (!(await askHooks(rooms, eviction, session, channel)) || lost.has(session.id)) return;
      lost.add(session.id);
      this.#lost++;
    };
    for (const told of closed) this.#track(endSession(rooms, told.session, told.reference));
    for (const told of left) this.#track(notifyLeft(rooms, told.session, told.channel, told.reference));
    for (const question of asked) this.#track(this.#asking(askAbout, question));
  }

  /** Resolves when the next page may be begun. */
  async room(): Promise<void> {
    while (this.#underWay > 0 && !this.#rooms.delivery.isShut) {
      const done = this.#done;
      await this.#settledWithin(STALLED_MS);
      if (done === this.#done && this.#underWay < MOST_UNDER_WAY) return;
    }
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#underWay > 0) await this.#settledWithin(STALLED_MS);
  }

  /**
   * @returns how many sessions have lost something
   * @throws what failed first
   */
  lost(): number {
    if (this.#failure) throw this.#failure.error;
    return this.#lost;
  }

  #track(work: Promise<void>): void {
    this.#underWay++;
    work
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#done++;
        this.#advanced();
        if (--this.#underWay === 0) this.#allDone();
      });
  }

  #settledWithin(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#allDone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** An eviction is a decision like any other: it has a reference and a trace. */
export function keepLoss(rooms: Rooms, { change }: Eviction, { refusal: refused, trail }: Loss): string {
  if (change !== null) trail.change = change;
  return rooms.keep(refusal(trail, refused, newReference()));
}

/** @returns whether the session has left the channel by the author's word */
async function askHooks(
  rooms: Rooms,
  eviction: Eviction,
  session: SessionWithChannels,
  channel: string,
): Promise<boolean> {
  // The record is left to others, who ask about all of it.
  if (rooms.delivery.isShut) return false;
  const standing = await standingInChannel(rooms, session, channel, HOOK_DEADLINE_MS);
  if (standing.kind !== "lost") return false;
  if ((await rooms.memberships.leaveMany([{ session, channel }])).length === 0) return false;
  const reference = keepLoss(rooms, eviction, standing);
  await rooms.decisionLog.flush();
  await notifyLeft(rooms, session, channel, reference);
  return true;
}

async function notifyLeft(
  rooms: Rooms,
  session: SessionWithChannels,
  channel: string,
  reference: string,
): Promise<void> {
  await notify(rooms, session, { type: "sallyport.revoked", scope: "channel", channel, reference });
}

/** Tells a socket whose row is closed already, and closes it. */
async function endSession(rooms: Rooms, session: SessionWithChannels, reference: string): Promise<void> {
  const notified = await notify(rooms, session, { type: "sallyport.revoked", scope: "view", reference });
  const recipient = await recipientOf(rooms, session);
  if (!recipient) return;
  // A client that hangs up on its notice is gone, however young its row: it is no connection still arriving.
  const socket = notified?.kind === "sent" ? { ...recipient, connectedAt: 0 } : recipient;
  const outcome = await rooms.delivery.close(socket, {
    urgent: true,
    stillPermitted: connected(rooms, session),
  });
  rooms.unfinishedCloses.keepFailed(socket, outcome);
  report(rooms, session, outcome);
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

/** The session is nobody's already; that its socket lives on is somebody's to know, unless the record is left to others. */
function report(rooms: Rooms, session: SessionWithChannels, outcome: Outcome): void {
  if (outcome.kind !== "failed" || rooms.delivery.isShut) return;
  const error = new Error(`The gateway did not take it: ${outcome.reason}`);
  rooms.onError(error, `evicting connection ${session.connectionId}`);
}
