import { definePermissions } from "sallyport";

/** The permissions of the chat. Give one to a user: npx sallyport users grant ann chat.use */
export const chat = definePermissions("chat", {
  use: "Can use the chat",
  moderate: "Can remove messages",
});
