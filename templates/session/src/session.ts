import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

/** A user who is signed in. */
export interface Session {
  readonly userId: string;
  readonly sessionId: string;
}

const { SESSION_SECRET } = process.env;
if (!SESSION_SECRET)
  throw new Error("SESSION_SECRET is not set. Set it in the environment, or in .env for npm run dev.");
const secret = SESSION_SECRET;

/** Returns the session of a Cookie header, or null without a valid one. */
export function sessionOf(cookies: string | null | undefined): Session | null {
  const [, userId, sessionId, signature] =
    /(?:^|; )session=([^.;]+)\.([^.;]+)\.([^.;]+)/.exec(cookies ?? "") ?? [];
  if (!userId || !sessionId || !signature) return null;
  const [expected, actual] = [sign(userId, sessionId), signature].map((text) => Buffer.from(text));
  if (expected?.length !== actual?.length || !timingSafeEqual(expected as Buffer, actual as Buffer))
    return null;
  return { userId, sessionId };
}

/** Returns the Set-Cookie header of a new session. */
export function startSession(userId: string): string {
  const sessionId = randomUUID();
  return `session=${userId}.${sessionId}.${sign(userId, sessionId)}; ${ATTRIBUTES}; Max-Age=604800`;
}

/** The Set-Cookie header that removes the session. */
export const endOfSession = () => `session=; ${ATTRIBUTES}; Max-Age=0`;

const ATTRIBUTES = `Path=/; HttpOnly; SameSite=Lax${process.env.NODE_ENV === "production" ? "; Secure" : ""}`;

function sign(userId: string, sessionId: string): string {
  return createHmac("sha256", secret).update(`${userId}.${sessionId}`).digest("base64url");
}
