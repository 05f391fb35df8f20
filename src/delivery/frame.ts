import { DeliveryError } from "../errors.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";

/** JSON once for all recipients. @throws DeliveryError when it is no JSON or over 128 KB */
export function encodeFrame(message: unknown): string {
  let frame: string | undefined;
  try {
    frame = JSON.stringify(message);
  } catch (cause) {
    throw new DeliveryError(`The message cannot become JSON: ${(cause as Error).message}`, {
      code: "SALLYPORT_DELIVERY",
      status: 500,
      cause,
    });
  }
  if (frame === undefined) {
    throw new DeliveryError(`The message cannot become JSON: it is ${typeof message}.`, {
      code: "SALLYPORT_DELIVERY",
      status: 500,
    });
  }
  const bytes = Buffer.byteLength(frame);
  if (bytes > MAX_MESSAGE_BYTES) {
    throw new DeliveryError(
      `The message is ${bytes} bytes as JSON; API Gateway carries at most ${MAX_MESSAGE_BYTES}. Send a pointer and let the client fetch.`,
      { code: "SALLYPORT_TOO_LARGE", status: 500 },
    );
  }
  return frame;
}
