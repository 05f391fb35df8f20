import { isUtf8 } from "node:buffer";
import type { Outcome } from "./integration.ts";

/** What a client receives if its message is answered with another status than 2xx. */
export type OnHttpError = "body" | "errorFrame" | "silent";

interface RouteResponseSettings {
  /** Whether the answers of the route are sent to the client. */
  readonly routeResponse: boolean;
  readonly onHttpError: OnHttpError;
}

/**
 * Returns the frame that a client receives for the outcome of its message, or undefined for none.
 *
 * The body of a 2xx answer is one text message, which can be empty. Without route responses there
 * is no frame. If the backend does not answer, there is always an error frame.
 *
 * @param ids the ids in an error frame
 */
export function routeResponse(
  outcome: Outcome,
  ids: { readonly connectionId: string; readonly requestId: string },
  settings: RouteResponseSettings,
): Buffer | undefined {
  if (outcome.kind === "timed out") return errorFrame("Endpoint request timed out", ids);
  if (outcome.kind !== "answered") return errorFrame("Internal server error", ids);
  if (!isSuccess(outcome.status) && settings.onHttpError !== "body") {
    return settings.onHttpError === "errorFrame" ? errorFrame("Internal server error", ids) : undefined;
  }
  if (!settings.routeResponse) return undefined;
  const { body } = outcome;
  return body && isUtf8(body) ? body : errorFrame("Internal server error", ids);
}

/** Returns whether a status is 2xx. */
export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/**
 * Returns an error frame in the exact form of AWS: spaces after the first colon and after commas
 * only.
 */
export function errorFrame(
  message: string,
  ids: { readonly connectionId: string; readonly requestId: string },
): Buffer {
  return Buffer.from(
    `{"message": "${message}", "connectionId":"${ids.connectionId}", "requestId":"${ids.requestId}"}`,
  );
}
