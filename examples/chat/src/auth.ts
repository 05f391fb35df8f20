import { randomBytes } from "node:crypto";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { db, setting } from "./database.ts";
import { isPane, type Pane } from "./panes.ts";
import { sallyport } from "./sallyport.ts";
import { ownOrigins } from "./settings.ts";

type Auth = ReturnType<typeof makeAuth>;
let made: Promise<Record<Pane, Auth>> | undefined;

/**
 * Returns the authentication of a pane. Both use the database of the chat and the same accounts. The
 * secret is created at the first start and stored there.
 */
export async function authOf(pane: Pane): Promise<Auth> {
  made ??= setting("auth_secret", () => randomBytes(32).toString("base64url")).then((secret) => ({
    left: makeAuth("left", secret),
    right: makeAuth("right", secret),
  }));
  return (await made)[pane];
}

/** Returns the session of a request. The parameter `pane` of its URL selects the cookie. */
export async function sessionOf(request: Request) {
  const pane = new URL(request.url).searchParams.get("pane");
  if (!isPane(pane)) return null;
  return (await authOf(pane)).api.getSession({ headers: request.headers });
}

/** Creates the tables of better-auth. */
export async function prepareAuth(): Promise<void> {
  const { runMigrations } = await getMigrations((await authOf("left")).options);
  await runMigrations();
}

function makeAuth(pane: Pane, secret: string) {
  const origins = ownOrigins();
  return betterAuth({
    database: { db, type: "sqlite" },
    secret,
    baseURL: origins[0] as string,
    basePath: `/api/auth/${pane}`,
    trustedOrigins: origins,
    emailAndPassword: { enabled: true },
    rateLimit: {
      enabled: true,
      window: 60,
      max: 600,
      customRules: { "/sign-in/*": { window: 60, max: 120 } },
    },
    advanced: {
      cookiePrefix: `sallyport-${pane}`,
      // All requests come from this machine, so they share one counter.
      ipAddress: { disableIpTracking: true },
    },
    telemetry: { enabled: false },
    databaseHooks: {
      // Signing out deletes the session. Its WebSocket connections are then closed.
      session: { delete: { after: (session) => sallyport.access.endSession(session.id) } },
    },
  });
}
