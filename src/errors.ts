/**
 * The one error family. The class says who must act, the code says the cause; each code has a paragraph in
 * `docs/errors.md`.
 */

import { printable } from "./printable.ts";
import { PERMISSION_DENIED } from "./protocol/frames.ts";

export type ErrorCode =
  | "SALLYPORT_CONFIGURATION"
  | "SALLYPORT_UNKNOWN_NAME"
  | "SALLYPORT_REFUSED"
  | "SALLYPORT_INVALID"
  | "SALLYPORT_DELIVERY"
  | "SALLYPORT_TOO_LARGE"
  | "SALLYPORT_CREDENTIALS"
  | "SALLYPORT_QUEUE_FULL"
  | "SALLYPORT_INTERRUPTED"
  | "SALLYPORT_STORAGE"
  | "SALLYPORT_NOT_MIGRATED"
  | "SALLYPORT_COMMITTED"
  | "SALLYPORT_CONTROL_PLANE";

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

  /** Written out in each class, because a bundler that minifies shortens the names of classes. */
  override readonly name: string = "SallyportError";

  constructor(message: string, details: ErrorDetails) {
    // Names, headers and fields of a client end in messages, and messages end in logs.
    super(printable(message), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.status = details.status;
    this.reply = details.reply ?? "Internal error.";
  }
}

/** The author must change something. Thrown at start, or by a call with a name that does not exist. */
export class ConfigurationError extends SallyportError {
  override readonly name: string = "ConfigurationError";

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
  }
}

/** Why a caller was refused: stable words, for logs and `onDecision`. Never sent to the peer. */
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

interface Refusal {
  readonly reason: Reason;
  /** HTTP status. Default 403. */
  readonly status?: number;
  /** What the peer hears. Default "Permission denied.", alike for every refusal by permission. */
  readonly reply?: string;
  /** Permissions any or all of which would have let the caller in. */
  readonly missing?: readonly string[];
  /** Seconds after which trying again makes sense; becomes Retry-After. */
  readonly retryAfterSeconds?: number;
}

/** This caller, this time. `message` reaches `onDecision`, `reply` reaches the peer. */
export class RefusedError extends SallyportError {
  override readonly name: string = "RefusedError";
  readonly reason: Reason;
  readonly missing: readonly string[];
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, refusal: Refusal) {
    const { reason, status = 403, reply = PERMISSION_DENIED } = refusal;
    super(message, { code: status === 403 ? "SALLYPORT_REFUSED" : "SALLYPORT_INVALID", status, reply });
    this.reason = reason;
    this.missing = refusal.missing ?? [];
    this.retryAfterSeconds = refusal.retryAfterSeconds;
  }
}

/** Ends an event with 403. The peer hears the generic words; `why` reaches `onDecision`. */
export function refuse(why: string): RefusedError {
  return new RefusedError(why, { reason: "app" });
}

/** Ends an event with 400. The peer hears `words`. */
export function invalid(words: string): RefusedError {
  return new RefusedError(words, { reason: "invalid", status: 400, reply: words });
}

/** Ends an event with 400: the call itself is not of the form that any handler could take. */
export function malformed(why: string, reply = "Bad request."): RefusedError {
  return new RefusedError(why, { reason: "malformed", status: 400, reply });
}

/** AWS would not take a message, or it could not be made. */
export class DeliveryError extends SallyportError {
  override readonly name: string = "DeliveryError";
}

/** The database failed. Decisions that needed it were refused. */
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
      reply: "Temporarily unavailable.",
      cause: options.cause,
    });
  }
}

/** AWS's control plane refused or failed while a gateway was provisioned. What was done until then is found again by the next run. */
export class ProvisioningError extends SallyportError {
  override readonly name: string = "ControlPlaneError";
  /** AWS's own name of the error, such as `ConflictException`; "" where there was none. */
  readonly awsError: string;
  /** HTTP status of AWS's answer; undefined where none came. */
  readonly awsStatus: number | undefined;

  constructor(
    message: string,
    options: { cause?: unknown; awsError?: string; awsStatus?: number | undefined } = {},
  ) {
    super(message, { code: "SALLYPORT_CONTROL_PLANE", status: 500, cause: options.cause });
    this.awsError = options.awsError ?? "";
    this.awsStatus = options.awsStatus;
  }

  /** Whether AWS had enough calls for the moment, and did nothing. */
  get isThrottled(): boolean {
    return this.awsStatus === 429 || /Throttl|TooManyRequests/.test(this.awsError);
  }

  /** Whether it may be otherwise in a moment; something may have been done nevertheless. */
  get isPassing(): boolean {
    if (this.isThrottled) return true;
    if (this.awsStatus !== undefined) return this.awsStatus >= 500;
    return /^(TimeoutError|Error|NetworkingError)$/.test(this.awsError);
  }

  /** Whether something is not as it was when it was looked at. */
  get isStale(): boolean {
    return this.awsStatus === 404 || this.awsStatus === 409;
  }
}
