import { ConfigurationError } from "../errors.ts";
import { INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";

/** Shortest wait for an integration, in milliseconds. Source: AWS developer guide, quotas. */
const MIN_TIMEOUT_MS = 50;

/** @throws ConfigurationError for a wait that AWS would refuse */
export function checkedTimeout(where: string, timeoutMs: number = INTEGRATION_TIMEOUT_MS): number {
  if (timeoutMs >= MIN_TIMEOUT_MS && timeoutMs <= INTEGRATION_TIMEOUT_MS) return timeoutMs;
  throw new ConfigurationError(
    `${where}: timeoutMs is at least ${MIN_TIMEOUT_MS} and at most ${INTEGRATION_TIMEOUT_MS}, not ${timeoutMs}.`,
  );
}
