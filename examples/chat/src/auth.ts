import { randomBytes } from "node:crypto";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { db, setting } from "./database.ts";
import { sallyport } from "./sallyport.ts";
import { ownOrigins } from "./settings.ts";

type Auth = ReturnType<typeof makeAuth>;
let made: Promise<Auth> | undefined;

/**
 * Returns the authentication of the chat, which uses the database of the chat. Its secret is
 * created at the first start and stored there.
 */
export function auth(): Promise<Auth> {
  made ??= setting("auth_secret", () => randomBytes(32).toString("base64url")).then(makeAuth);
  return made;
}

/** Creates the tables of better-auth. */
export async function prepareAuth(): Promise<void> {
  const { runMigrations } = await getMigrations((await auth()).options);
  await runMigrations();
}

function makeAuth(secret: string) {
  const origins = ownOrigins();
  return betterAuth({
    database: { db, type: "sqlite" },
    secret,
    baseURL: origins[0] as string,
    trustedOrigins: origins,
    emailAndPassword: { enabled: true },
    rateLimit: {
      enabled: true,
      window: 60,
      max: 600,
      customRules: { "/sign-in/*": { window: 60, max: 120 } },
    },
    // All requests come from this machine, so they share one counter.
    advanced: { ipAddress: { disableIpTracking: true } },
    telemetry: { enabled: false },
    databaseHooks: {
      // Signing out deletes the session. Its WebSocket connections are then closed.
      session: { delete: { after: (login) => sallyport.access.endSession(login.id) } },
    },
  });
}
