import { randomBytes, randomFillSync, randomInt } from "node:crypto";
import { partitionOf } from "../protocol/partitions.ts";

/**
 * Creates a connection or request id in the form of AWS: 16 characters of the base64url alphabet,
 * of which the last one is `=`.
 *
 * The form matters, because `=` must be percent-encoded in a URL. A UUID would hide code that does
 * not encode it.
 */
export function newId(): string {
  if (used + 11 > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 11;
  return `${pool.toString("base64url", used - 11, used)}=`;
}

/** A pool of random bytes, because a system call for each id would be slow. */
const pool = Buffer.alloc(11 * 256);
let used = pool.length;

/** The form of `newId`. The Management API rejects other ids as malformed. */
export const ID_SHAPE = /^[A-Za-z0-9_-]{15}=$/;

/** Creates an API id of 10 lower-case letters and digits. */
export function newApiId(): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length: 10 }, () => alphabet[randomInt(alphabet.length)]).join("");
}

/**
 * Creates an `X-Amzn-Trace-Id` of the version, the time in seconds as hexadecimal, and 96 random
 * bits.
 *
 * Source: AWS X-Ray, trace ids.
 */
export function newTraceId(): string {
  const second = Math.floor(Date.now() / 1000).toString(16);
  return `Root=1-${second.padStart(8, "0")}-${randomBytes(12).toString("hex")}`;
}

/** The account in local ARNs, which is the example account of AWS. */
export const ACCOUNT_ID = "123456789012";

/**
 * Returns the ARN of a route at a stage, as policies contain it.
 *
 * Source: AWS developer guide, "ARN format reference".
 */
export function routeArn(region: string, apiId: string, stage: string, routeKey: string): string {
  return `arn:${partitionOf(region)}:execute-api:${region}:${ACCOUNT_ID}:${apiId}/${stage}/${routeKey}`;
}
