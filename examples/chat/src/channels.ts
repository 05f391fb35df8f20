import { defineChannel } from "sallyport";
import { chat } from "./permissions.ts";
import { isRoomMember } from "./rooms.ts";

export const room = defineChannel("rooms/:slug", {
  permissionsRequired: [chat.can_use_chat],
  authorize: isRoomMember,
});

/** `rooms/moderators` matches both definitions, so both rules apply. */
export const moderators = defineChannel("rooms/moderators", {
  allPermissionsRequired: [chat.can_moderate_chat],
});
