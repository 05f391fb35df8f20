import type { FeedMessage } from "../local/inspector/messages.ts";
import { request } from "./commands.ts";

/**
 * Reads the event stream of the gateway until it ends. It ends at once if the gateway rejects it.
 *
 * `EventSource` is not used, because it cannot send the content type that the gateway requires.
 *
 * @throws Error if the gateway cannot be reached
 */
export async function readFeed(
  signal: AbortSignal,
  onMessage: (message: FeedMessage) => void,
): Promise<void> {
  const response = await request("events", {}, signal);
  if (!response.ok || !response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (unread + value).split("\n\n");
    unread = events.pop() ?? "";
    for (const event of events) onMessage(JSON.parse(event.slice("data: ".length)) as FeedMessage);
  }
}
