import { existsSync } from "node:fs";
import { createSallyport } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";
import { auth } from "./auth.ts";
import { moderators, room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { databasePath, db, isPrepared } from "./database.ts";
import { log } from "./decision-log.ts";
import { chat } from "./permissions.ts";
import { ownOrigins } from "./settings.ts";

/** The Sallyport app. The server uses it, and `npx sallyport` finds it through package.json. */
export const sallyport = createSallyport({
  storage: sqlite(db),
  permissions: [chat],
  channels: [room, moderators],
  views: { "/ws/chat": ChatView },
  authenticate: async (request) => {
    const login = await (await auth()).api.getSession({ headers: request.headers });
    return login && { userId: login.user.id, sessionId: login.session.id };
  },
  users: {
    find: async (text) => {
      await requireAccounts();
      const user = await db
        .selectFrom("user")
        .select("id")
        .where((eb) => eb.or([eb("email", "=", text.toLowerCase()), eb("id", "=", text)]))
        .executeTakeFirst();
      return user?.id;
    },
    describe: async (ids) => {
      if (ids.length === 0) return {};
      const users = await db.selectFrom("user").select(["id", "email"]).where("id", "in", ids).execute();
      return Object.fromEntries(users.map((user) => [user.id, user.email]));
    },
    suggest: async () =>
      (await db.selectFrom("user").select("email").limit(1000).execute()).map((row) => row.email),
  },
  origins: ownOrigins(),
  token: { path: "/api/ws-token" },
  onDecision: log,
});

async function requireAccounts(): Promise<void> {
  if (!existsSync(databasePath) || !(await isPrepared()))
    throw new Error("The chat has no accounts yet. Run npm start once.");
}
