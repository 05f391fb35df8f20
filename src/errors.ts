import { printable } from "./format-value.ts";
import { PERMISSION_DENIED } from "./protocol/frames.ts";

/** Identifies the cause of an error. Each code has an entry in `docs/reference/errors.md`. */
export type ErrorCode =
  | "SALLYPORT_CONFIGURATION"
  | "SALLYPORT_UNKNOWN_NAME"
  | "SALLYPORT_FORBIDDEN"
  | "SALLYPORT_UNAUTHORIZED"
  | "SALLYPORT_BAD_REQUEST"
  | "SALLYPORT_PAYLOAD_TOO_LARGE"
  | "SALLYPORT_TOO_MANY_REQUESTS"
  | "SALLYPORT_DELIVERY"
  | "SALLYPORT_TOO_LARGE"
  | "SALLYPORT_CREDENTIALS"
  | "SALLYPORT_QUEUE_FULL"
  | "SALLYPORT_INTERRUPTED"
  | "SALLYPORT_STORAGE"
  | "SALLYPORT_NOT_MIGRATED"
  | "SALLYPORT_COMMITTED"
  | "SALLYPORT_PROVISIONING";

interface ErrorDetails {
  readonly code: ErrorCode;
  /** HTTP status of the response to the client. */
  readonly status: number;
  /** Message for the client. It reveals no details. Default "Internal error." */
  readonly clientMessage?: string;
  readonly cause?: unknown;
}

/**
 * The base class of all errors of Sallyport. `message` is for developers and stays on the server.
 */
export abstract class SallyportError extends Error {
  readonly code: ErrorCode;
  /** HTTP status of the response to the client. */
  readonly status: number;
  /** Message that is sent to the client. It reveals no details. */
  readonly clientMessage: string;

  /** A literal in each class, because bundlers that minify shorten the names of classes. */
  override readonly name: string = "SallyportError";

  constructor(message: string, details: ErrorDetails) {
    // Messages contain text from clients, such as names and headers, and are written to logs.
    super(printable(message), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.status = details.status;
    this.clientMessage = details.clientMessage ?? "Internal error.";
  }
}

/**
 * The developer must change something. Thrown at startup, or by a call with a name that does not
 * exist.
 */
export class ConfigurationError extends SallyportError {
  override readonly name: string = "ConfigurationError";
  declare readonly code: "SALLYPORT_CONFIGURATION" | "SALLYPORT_UNKNOWN_NAME";

  constructor(
    message: string,
    {
      code = "SALLYPORT_CONFIGURATION",
      cause,
    }: {
      readonly code?: "SALLYPORT_CONFIGURATION" | "SALLYPORT_UNKNOWN_NAME";
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, { code, status: 500, cause });
    // Node.js prints the properties of an error that ends a process. These two are for responses.
    for (const name of ["status", "clientMessage"]) Object.defineProperty(this, name, { enumerable: false });
  }
}

/**
 * The reason of a denied or rejected request. Stable, for logs and `onDecision`. Never sent to the
 * client.
 */
export type Reason =
  | "caller"
  | "malformed"
  | "too-large"
  | "invalid"
  | "origin"
  | "limit"
  | "connection-limit"
  | "token-missing"
  | "token-unknown"
  | "token-expired"
  | "token-replayed"
  | "token-scope"
  | "session-ended"
  | "session"
  | "anonymous"
  | "inactive"
  | "permission"
  | "connection"
  | "view"
  | "handler"
  | "channel"
  | "authorize"
  | "unstable"
  | "app"
  | "reserved";

interface RequestErrorDetails {
  readonly reason: Reason;
  /** Message for the client. The default of each class reveals no details. */
  readonly clientMessage?: string;
  /** The missing permissions. Depending on the rule, the user needs one or all of them. */
  readonly missing?: readonly string[];
  /** The value of the Retry-After header, in seconds. */
  readonly retryAfterSeconds?: number;
}

/**
 * The base class of errors that end one request.
 *
 * `message` is passed to `onDecision`. `clientMessage` is sent to the client.
 */
export abstract class RequestError extends SallyportError {
  override readonly name: string = "RequestError";
  readonly reason: Reason;
  readonly missing: readonly string[];
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, code: ErrorCode, status: number, details: RequestErrorDetails) {
    super(message, { code, status, clientMessage: details.clientMessage ?? PERMISSION_DENIED });
    this.reason = details.reason;
    this.missing = details.missing ?? [];
    this.retryAfterSeconds = details.retryAfterSeconds;
  }
}

/** The request is denied (403). By default, the client receives "Permission denied." */
export class ForbiddenError extends RequestError {
  override readonly name: string = "ForbiddenError";

  constructor(message: string, details: RequestErrorDetails) {
    super(message, "SALLYPORT_FORBIDDEN", 403, details);
  }
}

/** The request belongs to no session (401). */
export class UnauthorizedError extends RequestError {
  override readonly name: string = "UnauthorizedError";

  constructor(message: string, details: RequestErrorDetails) {
    super(message, "SALLYPORT_UNAUTHORIZED", 401, {
      clientMessage: "Authentication required.",
      ...details,
    });
  }
}

/** The request is not valid (400). */
export class BadRequestError extends RequestError {
  override readonly name: string = "BadRequestError";

  constructor(message: string, details: RequestErrorDetails) {
    super(message, "SALLYPORT_BAD_REQUEST", 400, { clientMessage: "Bad request.", ...details });
  }
}

/** The request, or the answer to it, is larger than a message can be (413). */
export class PayloadTooLargeError extends RequestError {
  override readonly name: string = "PayloadTooLargeError";

  constructor(message: string, details: RequestErrorDetails) {
    super(message, "SALLYPORT_PAYLOAD_TOO_LARGE", 413, { clientMessage: "Message too large.", ...details });
  }
}

/** A limit is reached (429). */
export class TooManyRequestsError extends RequestError {
  override readonly name: string = "TooManyRequestsError";

  constructor(message: string, details: RequestErrorDetails) {
    super(message, "SALLYPORT_TOO_MANY_REQUESTS", 429, { clientMessage: "Too many requests.", ...details });
  }
}

/**
 * Returns an error that ends an event with 403. Write `throw forbidden("…")`.
 *
 * The client receives "Permission denied.".
 *
 * @param reason passed to `onDecision`. It is not sent to the client
 */
export function forbidden(reason: string): ForbiddenError {
  return new ForbiddenError(reason, { reason: "app" });
}

/**
 * Returns an error that ends an event with 400. Write `throw badRequest("…")`.
 *
 * @param message sent to the client
 */
export function badRequest(message: string): BadRequestError {
  return new BadRequestError(message, { reason: "invalid", clientMessage: message });
}

/**
 * Returns an error that ends an event with 400, for a request that no handler could process.
 *
 * @param message passed to `onDecision`
 * @param clientMessage sent to the client
 */
export function malformedRequest(message: string, clientMessage = "Bad request."): BadRequestError {
  return new BadRequestError(message, { reason: "malformed", clientMessage });
}

/** A message could not be created, or AWS did not accept it. */
export class DeliveryError extends SallyportError {
  override readonly name: string = "DeliveryError";
}

/** The database failed. Requests that needed it were denied. */
export class StorageError extends SallyportError {
  override readonly name: string = "StorageError";

  constructor(
    message: string,
    options: {
      cause?: unknown;
      code?: "SALLYPORT_STORAGE" | "SALLYPORT_NOT_MIGRATED" | "SALLYPORT_COMMITTED";
    } = {},
  ) {
    super(message, {
      code: options.code ?? "SALLYPORT_STORAGE",
      status: 503,
      clientMessage: "Temporarily unavailable.",
      cause: options.cause,
    });
  }
}

/**
 * The control plane of AWS failed while a gateway was provisioned. The next run continues from
 * there.
 */
export class ProvisioningError extends SallyportError {
  override readonly name: string = "ProvisioningError";
  /** The name that AWS gave the error, such as `ConflictException`, or "". */
  readonly awsError: string;
  /** HTTP status of the response from AWS, or undefined if there was none. */
  readonly awsStatus: number | undefined;

  constructor(
    message: string,
    options: { cause?: unknown; awsError?: string; awsStatus?: number | undefined } = {},
  ) {
    super(message, { code: "SALLYPORT_PROVISIONING", status: 500, cause: options.cause });
    this.awsError = options.awsError ?? "";
    this.awsStatus = options.awsStatus;
  }

  /** Whether AWS throttled the call. Nothing was changed. */
  get isThrottled(): boolean {
    return this.awsStatus === 429 || /Throttl|TooManyRequests/.test(this.awsError);
  }

  /** Whether a retry can succeed. The failed call may still have changed something. */
  get isTransient(): boolean {
    if (this.isThrottled) return true;
    if (this.awsStatus !== undefined) return this.awsStatus >= 500;
    return /^(TimeoutError|Error|NetworkingError)$/.test(this.awsError);
  }

  /** Whether the resource changed after it was read. */
  get isStale(): boolean {
    return this.awsStatus === 404 || this.awsStatus === 409;
  }
}
