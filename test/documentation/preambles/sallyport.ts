import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { deleteMessage, findMessage, storeMessage } from "./messages.ts";
import { chat, shop } from "./permissions.ts";
import { archiveRoom, isMember, purgeRoom } from "./rooms.ts";
import { sallyport } from "./sallyport.ts";

const { access } = sallyport;
// the sample
