import { DeliveryError, PayloadTooLargeError } from "../errors.ts";

/** Converts an answer that is too large to status 413, so that the client receives the reason. */
export function toRequestError(error: unknown): unknown {
  return error instanceof DeliveryError && error.code === "SALLYPORT_TOO_LARGE"
    ? new PayloadTooLargeError(error.message, { reason: "too-large", clientMessage: "Message too large." })
    : error;
}
