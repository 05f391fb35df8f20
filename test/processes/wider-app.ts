// The next version of app.ts with other rules. With TEST_PRINTS it prints while it is loaded and
// used.
import { createSallyport, defineChannel, definePermissions, handler, WebSocketView } from "sallyport";
import { testStorage } from "./storage.ts";

const print = (text: string) => process.env.TEST_PRINTS && console.log(text);
print("the app is loading");

const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  can_watch_chat: "Can watch chat",
});

const room = defineChannel("rooms/:slug", {
  allPermissionsRequired: [chat.can_use_chat, chat.can_watch_chat],
});

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat, chat.can_watch_chat];
  ping = handler(() => ({ ok: true }));
}

export const sallyport = createSallyport({
  storage: testStorage(),
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  origins: ["https://www.example.com"],
  authenticate: () => null,
  users: {
    find: (text) => {
      print(`the app is looking for ${text}`);
      return text.startsWith("u") ? text : undefined;
    },
  },
});
