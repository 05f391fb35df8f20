import { betterAuth } from "better-auth";
import { Pool } from "pg";
import { sallyport } from "./sallyport.ts";

const origin = process.env.ORIGIN ?? `http://localhost:${process.env.PORT ?? 3000}`;

export const pool = new Pool({ connectionString: process.env.DATABASE_URL });

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
