import { badRequest, type ConnectContext, forbidden, handler, WebSocketView } from "sallyport";
import { z } from "zod";
import { deleteMessage, findMessage, storeMessage } from "./messages.ts";
import { chat, shop } from "./permissions.ts";
import { archiveRoom, isMember, purgeRoom } from "./rooms.ts";

const Archive = z.object({ room: z.string(), reports: z.number() });
const Message = z.object({ message: z.string() });
const MessageId = z.object({ message_id: z.int() });
export class SampleView extends WebSocketView {
  // the sample
}
