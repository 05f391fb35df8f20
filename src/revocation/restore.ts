import pLimit from "p-limit";
import type { RevocationServices } from "../services.ts";
import { CONNECTION_PAGE } from "../storage/stores/connections.ts";
import type { ConnectionWithLostChannels, LostChannel } from "../storage/stores/lost-channels.ts";
import { type Revocation, selectorOf } from "../storage/stores/revocations.ts";
import { notifyRestored } from "./notify.ts";
import { HOOK_DEADLINE_MS, recheckChannel, recheckChannelRules, recheckView } from "./recheck.ts";

/** Maximum number of lost channels that are checked at the same time. */
const MAX_CONCURRENT = 100;

/**
 * The result of a check of a lost channel. `other-app`: only another app can check it. `failed`: it
 * must be checked again.
 */
type RestoreResult = "done" | "other-app" | "failed";

/**
 * Notifies the connections that lost a channel when their users have access to it again.
 *
 * It works apart from removals, so a slow hook or gateway delays only other notices of this kind.
 * The connections do not join the channel, because the client can have joined another one in the
 * meantime.
 */
export class RestoreWorker {
  readonly #services: RevocationServices;
  #running: Promise<void> | undefined;
  #isRequested = false;

  constructor(services: RevocationServices) {
    this.#services = services;
  }

  /** Starts to process the available records, including those of changes during the work. */
  start(): void {
    this.#isRequested = true;
    this.#running ??= this.#run()
      .catch((error) => this.#services.reports.onError(error, "checking lost channels"))
      .finally(() => {
        this.#running = undefined;
      });
  }

  /** Resolves when no record is in progress. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const { revocations, delivery } = this.#services;
    /** Records that failed in this call. They are dequeued again when their lease has expired. */
    const failed = new Set<string>();
    while (this.#isRequested) {
      this.#isRequested = false;
      while (!delivery.isAllStopped) {
        const revocation = await revocations.dequeue({ except: failed, addsOnly: true });
        if (!revocation) break;
        if (!(await this.#process(revocation))) failed.add(revocation.id);
      }
    }
  }

  /** Processes a record. @returns false if it must be processed again */
  async #process(revocation: Revocation): Promise<boolean> {
    const { revocations, reports } = this.#services;
    const { id } = revocation;
    try {
      const results = await revocations.withLease(id, (advanced) =>
        restoreChannels(this.#services, revocation, advanced),
      );
      if (results.has("failed")) await revocations.postpone(id);
      else if (results.has("other-app")) await revocations.completeForThisApp(id);
      else await revocations.finish(id);
      return !results.has("failed");
    } catch (error) {
      reports.onError(error, `checking lost channels of ${revocation.scope} ${revocation.subject}`);
      await revocations.postpone(id).catch((failure) => reports.onError(failure, "postponing a revocation"));
      return false;
    }
  }
}

/** Checks the lost channels of the connections of a record. @returns the results that occurred */
async function restoreChannels(
  services: RevocationServices,
  revocation: Revocation,
  advanced: () => void,
): Promise<ReadonlySet<RestoreResult>> {
  const limit = pLimit(MAX_CONCURRENT);
  const results = new Set<RestoreResult>();
  for (let after = ""; ; ) {
    const page = await services.store.lostChannels.page(selectorOf(revocation), after);
    const lost = page.flatMap((connection) =>
      connection.lostChannels.map((channel) => ({ connection, channel })),
    );
    const check = async ({ connection, channel }: (typeof lost)[number]) => {
      // Another process takes over the record of a process that closes.
      results.add(
        services.delivery.isAllStopped ? "failed" : await restore(services, revocation, connection, channel),
      );
      advanced();
    };
    await Promise.all(lost.map((one) => limit(check, one)));
    if (page.length < CONNECTION_PAGE) return results;
    after = page.at(-1)?.id ?? "";
  }
}

/** Notifies a connection of one channel, if its user has access. */
async function restore(
  services: RevocationServices,
  { id: revocationId }: Revocation,
  connection: ConnectionWithLostChannels,
  channel: string,
): Promise<RestoreResult> {
  const { lostChannels } = services.store;
  const lost = { connectionKey: connection.id, channel };
  const isJoined = connection.channels.includes(channel);
  if (!isJoined) {
    const view = recheckView(services, connection).kind;
    if (view !== "allowed") return view === "other-app" ? "other-app" : "done";
    const { kind } = await recheckChannel(services, connection, channel, HOOK_DEADLINE_MS);
    if (kind !== "allowed") return kind === "other-app" ? "other-app" : "done";
  }
  // Claimed first, because the client can join the channel and lose it again after the notice.
  if (!(await lostChannels.claim(lost, revocationId))) return "done";
  const isDone =
    isJoined ||
    ((await isStillAllowed(services, lost)) && (await notifyRestored(services, connection, channel)));
  if (isDone) await lostChannels.remove(lost, revocationId);
  else await lostChannels.release(lost, revocationId);
  return isDone ? "done" : "failed";
}

/** Checks the rules with the current permissions, because the hooks can have taken seconds. */
async function isStillAllowed(
  services: RevocationServices,
  { connectionKey, channel }: LostChannel,
): Promise<boolean> {
  const [current] = await services.store.connections.page({ kind: "connection", connectionKey }, "");
  if (!current || recheckView(services, current).kind !== "allowed") return false;
  return recheckChannelRules(services, current, channel).kind === "allowed";
}
