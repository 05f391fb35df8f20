import { existsSync } from "node:fs";
import { createSallyport } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";
import { sessionOf } from "./auth.ts";
import { moderators, room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { databasePath, db, isPrepared } from "./database.ts";
import { observeDecision } from "./live/observer.ts";
import { VIEW } from "./page-contract.ts";
import { chat } from "./permissions.ts";
import { ownOrigins } from "./settings.ts";

/** The Sallyport app. The server uses it, and `npx sallyport` finds it through package.json. */
export const sallyport = createSallyport({
  storage: sqlite(db),
  permissions: [chat],
  channels: [room, moderators],
  views: { [VIEW]: ChatView },
  authenticate: async (request) => {
    const login = await sessionOf(request);
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
  // The two people of the page share the cookies of one browser, so a cookie does not identify the
  // person of a connection. The token does.
  token: { path: "/api/ws-token", binding: "token" },
  // One person switches rooms and accounts quickly to try the demo.
  limits: { tokensPerUser: 300, connectsPerUser: 300 },
  // The live panel shows every decision. A real app stores a sample of those that are allowed.
  decisionLog: { sampleAllowed: 1 },
  onDecision: observeDecision,
});

async function requireAccounts(): Promise<void> {
  if (!existsSync(databasePath) || !(await isPrepared()))
    throw new Error("The chat has no accounts yet. Run npm start once.");
}
