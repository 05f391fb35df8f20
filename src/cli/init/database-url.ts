import { createHash, randomBytes } from "node:crypto";

/**
 * Returns a port for the PostgreSQL server of a folder, so that two projects rarely use the same
 * one. The ports are below the ranges that Linux and macOS use for outgoing connections.
 */
export function portOf(folder: string): number {
  return 20_000 + (createHash("sha256").update(folder).digest().readUInt32BE() % 10_000);
}

/** Returns 256 random bits for a URL or a file `.env`. */
export const newSecret = () => randomBytes(32).toString("base64url");

/** Returns a URL with a new password, at which `sallyport dev` starts a PostgreSQL server. */
export function newDatabaseUrl(folder: string): string {
  return `postgres://app:${newSecret()}@localhost:${portOf(folder)}/app`;
}
