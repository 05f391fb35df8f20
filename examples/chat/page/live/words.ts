import { PERMISSION_LABELS, ROOMS } from "../../src/page-contract.ts";

const LABELS: Readonly<Record<string, string>> = PERMISSION_LABELS;
const TITLES = new Map<string, string>(ROOMS.map(({ slug, title }) => [`rooms/${slug}`, title]));

/** Returns the label of a permission. */
export const labelOf = (permission: string) => LABELS[permission] ?? permission;

/** Returns the title of a room, or “the chat” without a channel. */
export const placeOf = (channel: string | undefined) =>
  channel === undefined ? "the chat" : (TITLES.get(channel) ?? channel);

const HANDLERS: Readonly<Record<string, string>> = {
  send_message: "sends a message",
  fetch_history: "reads the messages",
  delete_message: "deletes a message",
  join_room: "changes the room",
  change_channel: "changes the room",
};

/** Returns what a call of a handler does, as the end of a sentence about a person. */
export const callOf = (handler: string | undefined) =>
  HANDLERS[handler ?? ""] ?? `calls ${handler ?? "an unknown handler"}`;
