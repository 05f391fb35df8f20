import { defineChannel } from "sallyport";
import { chat } from "./permissions.ts";

/** A room. Its rule is checked when a user joins, and for each recipient of each message. */
export const room = defineChannel("rooms/:room", { permissionsRequired: [chat.use] });
