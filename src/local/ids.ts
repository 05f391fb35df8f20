import { randomBytes, randomFillSync, randomInt } from "node:crypto";

/**
 * A connection or request id as AWS makes them: 16 characters, base64url alphabet, the last one `=`.
 *
 * The shape matters: `=` must be percent-encoded in a URL, and a plain UUID would hide code that forgets it.
 */
export function newId(): string {
  if (used + 11 > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 11;
  return `${pool.toString("base64url", used - 11, used)}=`;
}

/** Each call to the system for random bytes costs more than the id made of them. */
const pool = Buffer.alloc(11 * 256);
let used = pool.length;

/** The exact shape of `newId`. The Management API calls anything else malformed. */
export const ID_SHAPE = /^[A-Za-z0-9_-]{15}=$/;

/** An API id: 10 lower-case letters and digits. */
export function newApiId(): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length: 10 }, () => alphabet[randomInt(alphabet.length)]).join("");
}

/** A fresh `X-Amzn-Trace-Id`: the version, the second in hex, 96 random bits. Source: AWS X-Ray, trace ids. */
export function newTraceId(): string {
  const second = Math.floor(Date.now() / 1000).toString(16);
  return `Root=1-${second.padStart(8, "0")}-${randomBytes(12).toString("hex")}`;
}
