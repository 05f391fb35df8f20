import pLimit from "p-limit";
import { type DecisionContext, denied, newReference } from "../audit/decision.ts";
import type { ConnectionWithChannels } from "../connections/connections.ts";
import type { Outcome, ShouldSend } from "../delivery/delivery.ts";
import { encodeFrame } from "../delivery/frame.ts";
import type { RefusedError } from "../errors.ts";
import type { RevokedNotice } from "../protocol/frames.ts";
import { recipientOf } from "../sending/recipients.ts";
import type { Services } from "../services.ts";
import type { Revocation } from "./queue.ts";
import { HOOK_DEADLINE_MS, recheckChannel } from "./recheck.ts";

/** Something lost, and why. */
export interface LostAccess {
  readonly refusal: RefusedError;
  readonly context: DecisionContext;
}

/** A page whose rows are closed and whose channels are left: what its sockets are still to hear, and whom hooks are asked about. */
export interface EndedPage {
  readonly revocation: Revocation;
  readonly closed: readonly Told[];
  readonly left: readonly (Told & { readonly channel: string })[];
  readonly asked: readonly { readonly connection: ConnectionWithChannels; readonly channel: string }[];
  /** How many sessions are, or are in a channel, another app's to judge. */
  readonly unknown: number;
}

/** What a socket is told by. */
interface Told {
  readonly connection: ConnectionWithChannels;
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
export class RevocationNotifier {
  readonly #services: Services;
  readonly #advanced: () => void;
  readonly #asking = pLimit(ASKED_AT_ONCE);
  #underWay = 0;
  #done = 0;
  #lost = 0;
  #failure: { readonly error: unknown } | undefined;
  #allDone: () => void = () => undefined;

  /** @param advanced is called whenever something has come of it */
  constructor(services: Services, advanced: () => void) {
    this.#services = services;
    this.#advanced = advanced;
  }

  begin({ revocation, closed, left, asked }: EndedPage): void {
    const services = this.#services;
    const lost = new Set([...closed, ...left].map(({ connection }) => connection.id));
    this.#lost += lost.size;
    const askAbout = async ({ connection, channel }: EndedPage["asked"][number]) => {
      if (!(await askHooks(services, revocation, connection, channel)) || lost.has(connection.id)) return;
      lost.add(connection.id);
      this.#lost++;
    };
    for (const told of closed) this.#track(endSession(services, told.connection, told.reference));
    for (const told of left) this.#track(notifyLeft(services, told.connection, told.channel, told.reference));
    for (const question of asked) this.#track(this.#asking(askAbout, question));
  }

  /** Resolves when the next page may be begun. */
  async room(): Promise<void> {
    while (this.#underWay > 0 && !this.#services.delivery.isShut) {
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
export function keepLoss(
  services: Services,
  { change }: Revocation,
  { refusal: refused, context }: LostAccess,
): string {
  if (change !== null) context.change = change;
  return services.keep(denied(context, refused, newReference()));
}

/** @returns whether the session has left the channel by the author's word */
async function askHooks(
  services: Services,
  revocation: Revocation,
  connection: ConnectionWithChannels,
  channel: string,
): Promise<boolean> {
  // The record is left to others, who ask about all of it.
  if (services.delivery.isShut) return false;
  const standing = await recheckChannel(services, connection, channel, HOOK_DEADLINE_MS);
  if (standing.kind !== "lost") return false;
  if ((await services.memberships.leaveMany([{ connection, channel }])).length === 0) return false;
  const reference = keepLoss(services, revocation, standing);
  await services.decisionLog.flush();
  await notifyLeft(services, connection, channel, reference);
  return true;
}

async function notifyLeft(
  services: Services,
  connection: ConnectionWithChannels,
  channel: string,
  reference: string,
): Promise<void> {
  await notify(services, connection, { type: "sallyport.revoked", scope: "channel", channel, reference });
}

/** Tells a socket whose row is closed already, and closes it. */
async function endSession(
  services: Services,
  connection: ConnectionWithChannels,
  reference: string,
): Promise<void> {
  const notified = await notify(services, connection, {
    type: "sallyport.revoked",
    scope: "view",
    reference,
  });
  const recipient = await recipientOf(services, connection);
  if (!recipient) return;
  // A client that hangs up on its notice is gone, however young its row: it is no connection still arriving.
  const socket = notified?.kind === "sent" ? { ...recipient, connectedAt: 0 } : recipient;
  const outcome = await services.delivery.close(socket, {
    urgent: true,
    stillPermitted: connected(services, connection),
  });
  services.unfinishedCloses.keepFailed(socket, outcome);
  report(services, connection, outcome);
}

async function notify(
  services: Services,
  connection: ConnectionWithChannels,
  notice: RevokedNotice,
): Promise<Outcome | undefined> {
  const recipient = await recipientOf(services, connection);
  if (!recipient) return undefined;
  const outcome = await services.delivery.post(recipient, encodeFrame(notice), {
    urgent: true,
    stillPermitted: connected(services, connection),
  });
  report(services, connection, outcome);
  return outcome;
}

/** Before each further try: a client that has left by itself, as after signing out, needs neither notice nor close. */
function connected(services: Services, connection: ConnectionWithChannels): ShouldSend {
  let isFresh = true;
  return () => {
    const goOn = isFresh;
    isFresh = !isFresh;
    return goOn ? true : services.connections.isConnected(connection.id);
  };
}

/** The session is nobody's already; that its socket lives on is somebody's to know, unless the record is left to others. */
function report(services: Services, connection: ConnectionWithChannels, outcome: Outcome): void {
  if (outcome.kind !== "failed" || services.delivery.isShut) return;
  const error = new Error(`The gateway did not take it: ${outcome.reason}`);
  services.onError(error, `evicting connection ${connection.connectionId}`);
}
