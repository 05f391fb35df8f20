// A small app as users write it: the command line loads it as TypeScript.
import { createSallyport, definePermissions, handler, WebSocketView } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";

const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  can_moderate_chat: "Can moderate chat",
});

class ChatView extends WebSocketView {
  override permissionsRequired = [chat.can_use_chat];
  ping = handler(() => ({ ok: true }));
}

const people: Record<string, string> = { "ann@example.com": "u1", "bob@example.com": "u2" };

export const sallyport = createSallyport({
  storage: sqlite(process.env.STORY_DATABASE as string),
  permissions: [chat],
  views: { "/ws/chat": ChatView },
  origins: ["https://www.example.com"],
  identify: () => null,
  users: {
    find: (text) => people[text],
    describe: (ids) =>
      Object.fromEntries(
        Object.entries(people).flatMap(([email, id]) => (ids.includes(id) ? [[id, email]] : [])),
      ),
    suggest: () => Object.keys(people),
  },
});
