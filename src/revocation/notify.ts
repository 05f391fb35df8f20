import pLimit from "p-limit";
import { type DecisionContext, denied, newReference } from "../audit/decision.ts";
import type { Outcome, ShouldSend } from "../delivery/delivery.ts";
import { encodeFrame } from "../delivery/frame.ts";
import type { RequestError } from "../errors.ts";
import type { RestoredNotice, RevokedNotice } from "../protocol/frames.ts";
import { recipientOf } from "../sending/recipients.ts";
import type { RevocationServices } from "../services.ts";
import type { ConnectionWithChannels } from "../storage/stores/connections.ts";
import type { Revocation } from "../storage/stores/revocations.ts";
import { HOOK_DEADLINE_MS, recheckChannel } from "./recheck.ts";

/** Access that was lost, and the denial that states the reason. */
export interface LostAccess {
  readonly denial: RequestError;
  readonly context: DecisionContext;
}

/**
 * A page of connections after its rows were closed and its channels were left. Clients must still
 * be notified, and hooks must still be called.
 */
export interface RecheckedPage {
  readonly revocation: Revocation;
  readonly closed: readonly NotifiedConnection[];
  readonly left: readonly (NotifiedConnection & { readonly channel: string })[];
  readonly toAuthorize: readonly { readonly connection: ConnectionWithChannels; readonly channel: string }[];
  /** Number of connections with a view or channel that only another app can check. */
  readonly unknown: number;
}

/** A connection to notify, and the reference of the decision. */
interface NotifiedConnection {
  readonly connection: ConnectionWithChannels;
  readonly reference: string;
}

/** Maximum number of concurrent hook calls. */
const MAX_HOOK_CALLS = 500;
/** Time without progress after which the next page begins anyway, in milliseconds. */
const STALLED_MS = 200;
/** Maximum number of notices and hook calls in flight per record. */
const MAX_IN_FLIGHT = 10_000;

/**
 * Notifies the clients in the pages of a record of lost access, and calls the hooks for the others.
 *
 * A page begins when the page before is finished, so that a large record does not fill the delivery
 * queue. It also begins when the page before makes no progress. So a gateway or hook that does not
 * respond delays only its own connections.
 */
export class RevocationNotifier {
  readonly #services: RevocationServices;
  readonly #advanced: () => void;
  readonly #hookCalls = pLimit(MAX_HOOK_CALLS);
  #inFlight = 0;
  #done = 0;
  #lost = 0;
  #closed = 0;
  #left = 0;
  #failure: { readonly error: unknown } | undefined;
  #onAllDone: () => void = () => undefined;

  /** @param advanced called each time that work has finished */
  constructor(services: RevocationServices, advanced: () => void) {
    this.#services = services;
    this.#advanced = advanced;
  }

  /** Starts the notices and hook calls of a page. Returns immediately. */
  begin({ revocation, closed, left, toAuthorize }: RecheckedPage): void {
    const services = this.#services;
    const lost = new Set([...closed, ...left].map(({ connection }) => connection.id));
    this.#lost += lost.size;
    this.#closed += closed.length;
    this.#left += left.length;
    const callHooksFor = async ({ connection, channel }: RecheckedPage["toAuthorize"][number]) => {
      if (!(await callHooks(services, revocation, connection, channel))) return;
      this.#left++;
      if (lost.has(connection.id)) return;
      lost.add(connection.id);
      this.#lost++;
    };
    for (const loss of closed) this.#track(notifyAndClose(services, loss.connection, loss.reference));
    for (const loss of left) this.#track(notifyLeft(services, loss.connection, loss.channel, loss.reference));
    for (const membership of toAuthorize) this.#track(this.#hookCalls(callHooksFor, membership));
  }

  /** Resolves when the next page may begin. */
  async waitForCapacity(): Promise<void> {
    while (this.#inFlight > 0 && !this.#services.delivery.isAllStopped) {
      const done = this.#done;
      await this.#settledWithin(STALLED_MS);
      if (done === this.#done && this.#inFlight < MAX_IN_FLIGHT) return;
    }
  }

  /** Resolves when no work is in flight. */
  async settled(): Promise<void> {
    while (this.#inFlight > 0) await this.#settledWithin(STALLED_MS);
  }

  /**
   * Returns how many connections lost a view or a channel, how many of them were closed, and how
   * many channels were left.
   *
   * @throws the first error that occurred
   */
  losses(): { readonly lost: number; readonly closed: number; readonly left: number } {
    if (this.#failure) throw this.#failure.error;
    return { lost: this.#lost, closed: this.#closed, left: this.#left };
  }

  #track(work: Promise<void>): void {
    this.#inFlight++;
    work
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#done++;
        this.#advanced();
        if (--this.#inFlight === 0) this.#onAllDone();
      });
  }

  #settledWithin(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#onAllDone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Stores the decision of a revocation. @returns its reference */
export function recordLoss(
  services: RevocationServices,
  { change }: Revocation,
  { denial, context }: LostAccess,
): string {
  if (change !== null) context.change = change;
  return services.reports.recordDecision(denied(context, denial, newReference()));
}

/** Calls the hooks of a channel. @returns whether the connection lost the channel */
async function callHooks(
  services: RevocationServices,
  revocation: Revocation,
  connection: ConnectionWithChannels,
  channel: string,
): Promise<boolean> {
  // Another process takes over the record and calls all hooks.
  if (services.delivery.isAllStopped) return false;
  const result = await recheckChannel(services, connection, channel, HOOK_DEADLINE_MS);
  if (result.kind !== "lost") return false;
  if ((await services.store.memberships.loseMany([{ connection, channel }])).length === 0) return false;
  const reference = recordLoss(services, revocation, result);
  await services.reports.decisionLog.flush();
  await notifyLeft(services, connection, channel, reference);
  return true;
}

/**
 * Notifies a client that its user has access to a channel again.
 *
 * @returns false if the notice could not be sent
 */
export async function notifyRestored(
  services: RevocationServices,
  connection: ConnectionWithChannels,
  channel: string,
): Promise<boolean> {
  const notice = { type: "sallyport.restored", scope: "channel", channel } as const;
  const outcome = await notify(services, connection, notice, { urgent: false });
  return outcome !== undefined && outcome.kind !== "failed";
}

async function notifyLeft(
  services: RevocationServices,
  connection: ConnectionWithChannels,
  channel: string,
  reference: string,
): Promise<void> {
  await notify(services, connection, { type: "sallyport.revoked", scope: "channel", channel, reference });
}

/** Notifies and closes a connection after its row was closed. */
async function notifyAndClose(
  services: RevocationServices,
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
  // After the notice was sent, a 410 means that the connection is gone, even if its row is new.
  const socket = notified?.kind === "sent" ? { ...recipient, connectedAt: 0 } : recipient;
  const outcome = await services.delivery.close(socket, {
    urgent: true,
    shouldSend: checkOnRetry(services, connection),
  });
  services.unfinishedCloses.keepFailed(socket, outcome);
  report(services, connection, outcome);
}

async function notify(
  services: RevocationServices,
  connection: ConnectionWithChannels,
  notice: RevokedNotice | RestoredNotice,
  { urgent }: { readonly urgent: boolean } = { urgent: true },
): Promise<Outcome | undefined> {
  const recipient = await recipientOf(services, connection);
  if (!recipient) return undefined;
  const outcome = await services.delivery.post(recipient, encodeFrame(notice), {
    urgent,
    shouldSend: checkOnRetry(services, connection),
  });
  report(services, connection, outcome);
  return outcome;
}

/**
 * Returns a check that allows the first attempt, and checks each retry. A client that has
 * disconnected by itself, for example after signing out, needs neither notice nor close.
 *
 * After a check that was not immediate, `Delivery` checks again directly before the call and needs
 * an immediate result, so each second call returns `true`.
 */
function checkOnRetry(services: RevocationServices, connection: ConnectionWithChannels): ShouldSend {
  let isFresh = true;
  return () => {
    const wasFresh = isFresh;
    isFresh = !isFresh;
    return wasFresh ? true : services.store.connections.isConnected(connection.id);
  };
}

/**
 * Reports a failed notice or close, unless the process shuts down and leaves the record to others.
 */
function report(services: RevocationServices, connection: ConnectionWithChannels, outcome: Outcome): void {
  if (outcome.kind !== "failed" || outcome.reason === "closed" || services.delivery.isAllStopped) return;
  const error = new Error(
    `API Gateway did not accept the notice or the close of the connection (${outcome.reason}). ` +
      "Check that this process can reach the gateway.",
  );
  services.reports.onError(error, `revoking access of connection ${connection.connectionId}`);
}
