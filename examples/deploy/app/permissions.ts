import { definePermissions } from "sallyport";

export const chat = definePermissions("chat", { can_use_chat: "Can use chat" });
