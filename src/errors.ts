/**
 * The one error family. The class says who must act, the code says the cause; each code has a paragraph in
 * `docs/errors.md`.
 */

export type ErrorCode =
  | "SALLYPORT_CONFIGURATION"
  | "SALLYPORT_UNKNOWN_NAME"
  | "SALLYPORT_REFUSED"
  | "SALLYPORT_INVALID"
  | "SALLYPORT_DELIVERY"
  | "SALLYPORT_TOO_LARGE"
  | "SALLYPORT_STORAGE"
  | "SALLYPORT_NOT_MIGRATED";

interface ErrorDetails {
  readonly code: ErrorCode;
  /** HTTP status that the peer gets. */
  readonly status: number;
  /** What the peer hears; gives nothing away. */
  readonly reply?: string;
  readonly cause?: unknown;
}

export abstract class SallyportError extends Error {
  readonly code: ErrorCode;
  /** HTTP status that the peer gets. */
  readonly status: number;
  /** What the peer hears. `message` is for the developer and never leaves the server. */
  readonly reply: string;

  constructor(message: string, details: ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code;
    this.status = details.status;
    this.reply = details.reply ?? "Internal error.";
  }
}

/** The author must change something. Thrown at start, or by a call with a name that does not exist. */
export class ConfigurationError extends SallyportError {
  constructor(message: string, code: "SALLYPORT_CONFIGURATION" | "SALLYPORT_UNKNOWN_NAME" = "SALLYPORT_CONFIGURATION") {
    super(message, { code, status: 500 });
  }
}

/** This caller, this time. `message` reaches `onDecision`, `reply` reaches the peer. */
export class RefusedError extends SallyportError {}

/** AWS would not take a message, or it could not be made. */
export class DeliveryError extends SallyportError {}

/** The database failed. Decisions that needed it were refused. */
export class StorageError extends SallyportError {
  constructor(message: string, options: { cause?: unknown; code?: "SALLYPORT_STORAGE" | "SALLYPORT_NOT_MIGRATED" } = {}) {
    super(message, {
      code: options.code ?? "SALLYPORT_STORAGE",
      status: 503,
      reply: "Temporarily unavailable.",
      cause: options.cause,
    });
  }
}
