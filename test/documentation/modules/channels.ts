import { defineChannel } from "sallyport";
import { chat } from "./permissions.ts";
import { isMember } from "./rooms.ts";

export const room = defineChannel("rooms/:slug", {
  permissionsRequired: [chat.can_use_chat],
  authorize: ({ user, params }) => isMember(user.id, params.slug),
});
