import { createHmac, timingSafeEqual } from "node:crypto";

/**
 * Returns the user of a request. Replace it with your own sign-in.
 *
 * The cookie `session` contains the user id, the session id, and their HMAC-SHA-256 with the key
 * `SESSION_KEY`, separated by dots. No user is signed in without a key.
 */
export function currentUser(request: Request): { userId: string; sessionId: string } | null {
  const key = process.env.SESSION_KEY;
  const [, userId, sessionId, given] =
    /(?:^|;\s*)session=([\w-]+)\.([\w-]+)\.([0-9a-f]{64})(?:;|$)/.exec(request.headers.get("cookie") ?? "") ??
    [];
  if (!key || !userId || !sessionId || !given) return null;
  const expected = createHmac("sha256", key).update(`${userId}.${sessionId}`).digest();
  return timingSafeEqual(expected, Buffer.from(given, "hex")) ? { userId, sessionId } : null;
}
