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
        : { issues: [{ message: "Name a channel.", path: ["channel"] }] };
    },
  },
};

/**
 * A ready-made handler that moves the session to the channel it names, under that channel's rules:
 * `change_channel = changeChannel()`. Message: `{ "handler": "change_channel", "channel": "rooms/general" }`.
 */
export function changeChannel(): Handler<{ channel: string }, { ok: true; channel: string }> {
  return handler({ body: channelName }, async ({ body, move }) => {
    await move(body.channel);
    return { ok: true as const, channel: body.channel };
  });
}
