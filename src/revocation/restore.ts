import pLimit from "p-limit";
import type { RevocationServices } from "../services.ts";
import { CONNECTION_PAGE } from "../storage/stores/connections.ts";
import type { ConnectionWithLostChannels } from "../storage/stores/lost-channels.ts";
import { type Revocation, selectorOf } from "../storage/stores/revocations.ts";
import { notifyRestored } from "./notify.ts";
import { HOOK_DEADLINE_MS, recheckChannel, recheckView } from "./recheck.ts";

/** Maximum number of connections that are checked at the same time. */
const MAX_CONCURRENT = 100;

/**
 * Notifies the connections of a record that lost a channel, and whose users have access to it again.
 *
 * The connections do not join the channel, because they may have joined another one since then. A
 * notice can be sent twice if a process stops between the notice and the removal of the row.
 *
 * @param advanced called each time that a connection was checked
 * @returns the number of connections that only another app can check
 */
export async function restoreChannels(
  services: RevocationServices,
  revocation: Revocation,
  advanced: () => void,
): Promise<number> {
  const limit = pLimit(MAX_CONCURRENT);
  let unknown = 0;
  for (let after = ""; !services.delivery.isAllStopped; ) {
    const page = await services.store.lostChannels.page(selectorOf(revocation), after);
    const results = await Promise.all(
      page.map((connection) =>
        limit(async () => {
          const isKnown = await restoreChannelsOf(services, connection);
          advanced();
          return isKnown;
        }),
      ),
    );
    unknown += results.filter((isKnown) => !isKnown).length;
    if (page.length < CONNECTION_PAGE) break;
    after = page.at(-1)?.id ?? "";
  }
  return unknown;
}

/** Checks the lost channels of a connection. @returns false if only another app can check them all */
async function restoreChannelsOf(
  services: RevocationServices,
  connection: ConnectionWithLostChannels,
): Promise<boolean> {
  const view = recheckView(services, connection).kind;
  if (view !== "allowed") return view !== "other-app";
  const joined = connection.lostChannels.filter((channel) => connection.channels.includes(channel));
  const done = [...joined];
  let isKnown = true;
  for (const channel of connection.lostChannels) {
    if (joined.includes(channel)) continue;
    const { kind } = await recheckChannel(services, connection, channel, HOOK_DEADLINE_MS);
    if (kind === "other-app") isKnown = false;
    if (kind === "allowed" && (await notifyRestored(services, connection, channel))) done.push(channel);
  }
  await services.store.lostChannels.remove(connection.id, done);
  return isKnown;
}
