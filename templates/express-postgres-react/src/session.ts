import connectPgSimple from "connect-pg-simple";
import type { Request } from "express";
import session from "express-session";
import pg from "pg";

declare module "express-session" {
  interface SessionData {
    userId: string;
  }
}

/** A request with the session of its cookie. */
export type SessionRequest = Request & { readonly session: session.Session & Partial<session.SessionData> };

const { DATABASE_URL, SESSION_SECRET } = process.env;

/** Returns the middleware that reads the session. Sessions are stored in the table `session`. */
export function sessions() {
  if (!SESSION_SECRET)
    throw new Error("SESSION_SECRET is not set. Set it in the environment, or in .env for npm run dev.");
  const Store = connectPgSimple(session);
  const pool = new pg.Pool({ connectionString: DATABASE_URL });
  // Without a listener, a lost connection would end the process.
  pool.on("error", (error) => console.error(error.message));
  return session({
    secret: SESSION_SECRET,
    store: new Store({ pool, createTableIfMissing: true }),
    cookie: { sameSite: "lax", secure: process.env.NODE_ENV === "production", maxAge: 7 * 24 * 3_600_000 },
    resave: false,
    // Otherwise, a session would be stored for each message, because messages carry no cookie.
    saveUninitialized: false,
  });
}
