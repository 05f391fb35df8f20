import type { ChatMessage } from "../../src/messages.ts";

/** The pushes that arrive while the history is requested. */
export interface HistoryChanges {
  readonly arrived: readonly ChatMessage[];
  readonly deleted: ReadonlySet<number>;
}

/** Returns the requested history with the pushes of the meantime, oldest first and each message once. */
export function mergeHistory(
  fetched: readonly ChatMessage[],
  { arrived, deleted }: HistoryChanges,
): readonly ChatMessage[] {
  const byId = new Map([...fetched, ...arrived].map((message) => [message.id, message]));
  return [...byId.values()].filter(({ id }) => !deleted.has(id)).sort((one, other) => one.id - other.id);
}
