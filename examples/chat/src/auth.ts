import { randomBytes } from "node:crypto";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { db, setting } from "./database.ts";
import { sallyport } from "./sallyport.ts";
import { ownOrigins } from "./settings.ts";

type Auth = ReturnType<typeof makeAuth>;
let made: Promise<Auth> | undefined;

/** The chat's login, on the chat's own database. Its secret is made at the first start and kept there. */
export function auth(): Promise<Auth> {
  made ??= setting("auth_secret", () => randomBytes(32).toString("base64url")).then(makeAuth);
  return made;
}

/** Makes better-auth's tables. */
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
    // Everybody here comes from this machine, so all share one count.
    advanced: { ipAddress: { disableIpTracking: true } },
    telemetry: { enabled: false },
    databaseHooks: {
      // Signing out deletes the login, wherever it is done: its sockets end with it.
      session: { delete: { after: (login) => sallyport.access.endSession(login.id) } },
    },
  });
}
