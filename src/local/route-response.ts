import { isUtf8 } from "node:buffer";
import type { Outcome } from "./integration.ts";

/** What a non-2xx answer to a message gives the client. */
export type OnHttpError = "body" | "errorFrame" | "silent";

interface RouteResponseSettings {
  /** Whether the route's answers reach the client at all. */
  readonly routeResponse: boolean;
  readonly onHttpError: OnHttpError;
}

/**
 * The frame that a message's outcome gives the client, or undefined for none.
 *
 * A 2xx body is one text message, an empty body an empty one; without route responses there is none. A backend
 * that fails to answer gives an error frame in either case.
 *
 * @param ids ids to name in an error frame
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

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** Byte for byte as AWS sends it: a space after the first colon and after commas, none elsewhere. */
export function errorFrame(
  message: string,
  ids: { readonly connectionId: string; readonly requestId: string },
): Buffer {
  return Buffer.from(
    `{"message": "${message}", "connectionId":"${ids.connectionId}", "requestId":"${ids.requestId}"}`,
  );
}
