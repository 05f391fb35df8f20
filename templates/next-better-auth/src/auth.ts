import { betterAuth } from "better-auth";
import { Pool } from "pg";
import { sallyport } from "./sallyport.ts";

const origin = process.env.ORIGIN || `http://localhost:${process.env.PORT || 3000}`;

/** It does not keep a command of `npx sallyport` running. */
export const pool = new Pool({ connectionString: process.env.DATABASE_URL, allowExitOnIdle: true });
// Without a listener, a lost connection would end the process.
pool.on("error", (error) => console.error(error.message));

export const auth = betterAuth({
  database: pool,
  baseURL: origin,
  trustedOrigins: [origin],
  emailAndPassword: { enabled: true },
  databaseHooks: {
    // Signing out deletes the session. Its WebSocket connections are then closed at once.
    session: { delete: { after: (session) => sallyport.access.endSession(session.id) } },
  },
});
