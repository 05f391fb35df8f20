// A small app in TypeScript, as users write it, for the command line.
import { createSallyport, defineChannel, definePermissions, handler, WebSocketView } from "sallyport";
import { testStorage } from "./storage.ts";

const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  can_moderate_chat: "Can moderate chat",
});

const room = defineChannel("rooms/:slug", { permissionsRequired: [chat.can_use_chat] });
const moderators = defineChannel("rooms/moderators", { allPermissionsRequired: [chat.can_moderate_chat] });
const personal = defineChannel("notes/:id", {
  signedIn: true,
  authorize: ({ user, params }) => user.id === params.id,
});

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  ping = handler(() => ({ ok: true }));
  delete_message = handler(
    { allPermissionsRequired: [chat.can_moderate_chat], authorize: ({ user }) => user.id === "u1" },
    () => ({ ok: true }),
  );
}

// Eve's label contains control characters that would color the terminal, ring, and change the text
// direction.
const people: Record<string, string> = {
  "ann@example.com": "u1",
  "bob@example.com": "u2",
  "eve\u001b[31m\u0007\u009b\u202e@example.com": "u3",
};

export const sallyport = createSallyport({
  storage: testStorage(),
  permissions: [chat],
  channels: [room, moderators, personal],
  views: { "/ws/chat": ChatView },
  origins: ["https://www.example.com"],
  authenticate: () => null,
  users: {
    find: (text) => people[text],
    describe: (ids) =>
      Object.fromEntries(
        Object.entries(people).flatMap(([email, id]) => (ids.includes(id) ? [[id, email]] : [])),
      ),
    suggest: () => Object.keys(people),
  },
});
