import { createSallyport, type SallyportOptions } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { currentUser } from "./login.ts";
import { chat, shop } from "./permissions.ts";

declare const options: SallyportOptions;
// the sample
