import type { StandardSchemaV1 } from "@standard-schema/spec";
import { type Handler, handler } from "./handler.ts";

const channelName: StandardSchemaV1<{ channel: string }> = {
  "~standard": {
    version: 1,
    vendor: "sallyport",
    validate: (value) => {
      const channel = (value as { channel?: unknown }).channel;
      return typeof channel === "string"
        ? { value: { channel } }
        : { issues: [{ message: "Must be the name of a channel.", path: ["channel"] }] };
    },
  },
};

/**
 * Returns a handler that moves the connection to the channel in the message.
 *
 * Declare it in a view as `change_channel = changeChannel()`. The client sends `{ "handler":
 * "change_channel", "channel": "rooms/general" }`. The rules of the channel are checked.
 */
export function changeChannel(): Handler<{ channel: string }, { ok: true; channel: string }> {
  return handler({ body: channelName }, async ({ body, move }) => {
    await move(body.channel);
    return { ok: true as const, channel: body.channel };
  });
}
