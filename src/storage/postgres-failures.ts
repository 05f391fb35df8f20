import { isNamesFault } from "./named-statements.ts";

/**
 * The code of a write on a read-only server. Source: PostgreSQL, "Error Codes",
 * read_only_sql_transaction.
 */
const READ_ONLY = "25006";

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : "";
}

function messageOf(error: unknown): string {
  return String((error as { message?: unknown } | null)?.message ?? "");
}

/**
 * Returns true if the server reports that nothing was done. Source: PostgreSQL, "Error Codes",
 * class 40.
 */
export function isUndone(error: unknown): boolean {
  return codeOf(error).startsWith("40") || isReadOnly(error) || isNamesFault(error);
}

/** Returns true if the server does not accept writes, such as the old writer after a failover. */
export function isReadOnly(error: unknown): boolean {
  return codeOf(error) === READ_ONLY;
}

/** Returns true if the statement_timeout of the server ended a statement, or no answer arrived. */
export function isLate(error: unknown): boolean {
  return codeOf(error) === "57014" || codeOf(error) === "ETIMEDOUT";
}

/** The message of the pool of `pg`. */
const POOL_TIMEOUT = "timeout exceeded when trying to connect";

/** Returns true if no connection of the pool became free in time. */
export function isPoolTimeout(error: unknown): boolean {
  return messageOf(error) === POOL_TIMEOUT;
}

/** Returns the error of a pool that had no free connection in time. */
export function poolTimeout(): Error {
  return new Error(POOL_TIMEOUT);
}

/** Returns true if the error shows that the connection can no longer be used. */
export function isConnectionLost(error: unknown): boolean {
  const code = codeOf(error);
  if (/^(08...|57P0.)$/.test(code)) return true;
  if (
    /^(ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/.test(
      code,
    )
  )
    return true;
  return /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout expired$)/.test(
    messageOf(error),
  );
}

/**
 * Returns true for failures after which a retry can succeed.
 *
 * The connection was lost, the server stops, starts, is full or is not the writer, or the
 * transaction conflicted with another one. Source: PostgreSQL, "Error Codes", classes 08, 40, 53,
 * 55 and 57. The codes of lost connections are those of Node.js and `pg`.
 */
export function isTransient(error: unknown): boolean {
  return (
    isNamesFault(error) ||
    isReadOnly(error) ||
    /^(08|40|53|55|57)...$/.test(codeOf(error)) ||
    isConnectionLost(error) ||
    isPoolTimeout(error)
  );
}
