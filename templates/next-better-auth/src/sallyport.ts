import { createSallyport, type Sallyport } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { gateways } from "./gateway.ts";
import { chat } from "./permissions.ts";
import { accountsBy } from "./users.ts";

// A reload in development creates a new object. The previous one pauses until its next call.
const kept = globalThis as { sallyport?: Sallyport };
void kept.sallyport?.flush();

export const sallyport: Sallyport = createSallyport({
  storage: postgres(process.env.DATABASE_URL),
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  gateways,
  authenticate: async ({ headers }) => {
    const { auth } = await import("./auth.ts");
    const session = await auth.api.getSession({ headers });
    return session && { userId: session.user.id, sessionId: session.session.id };
  },
  // The command line then accepts e-mail addresses.
  users: {
    find: async (email) => (await accountsBy("email", [email.toLowerCase()]))[0]?.id,
    describe: async (ids) =>
      Object.fromEntries((await accountsBy("id", ids)).map(({ id, email }) => [id, email])),
  },
  // In production, the cookies of the page do not reach the host of the WebSocket.
  token: { binding: "token" },
  origins: [process.env.ORIGIN || `http://localhost:${process.env.PORT || 3000}`],
});
kept.sallyport = sallyport;
