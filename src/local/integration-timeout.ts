import { ConfigurationError } from "../errors.ts";
import { INTEGRATION_TIMEOUT_MS, MIN_INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";

/**
 * Returns the time limit of an integration in milliseconds. Default 29 000.
 *
 * @throws ConfigurationError for a value that AWS would reject
 */
export function checkedTimeout(where: string, timeoutMs: number = INTEGRATION_TIMEOUT_MS): number {
  if (timeoutMs >= MIN_INTEGRATION_TIMEOUT_MS && timeoutMs <= INTEGRATION_TIMEOUT_MS) return timeoutMs;
  throw new ConfigurationError(
    `${where}: timeoutMs must be a number of milliseconds from ${MIN_INTEGRATION_TIMEOUT_MS} to ${INTEGRATION_TIMEOUT_MS}, but received ${timeoutMs}.`,
  );
}
