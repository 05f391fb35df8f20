import { describeError, errorFields } from "../error-output.ts";
import { printable } from "../format-value.ts";
import type { Decision } from "./decision.ts";

/** How decisions and errors are printed: as readable text, or as one JSON object per line. */
export type LogFormat = "text" | "json";

/** Returns the format of an app that sets none: JSON in production, otherwise text. */
export function defaultFormat(): LogFormat {
  return process.env.NODE_ENV === "production" ? "json" : "text";
}

/** Prints the denials of an app without `onDecision` to stderr, one line each. */
export function printDenial(decision: Decision, format: LogFormat): void {
  if (decision.verdict !== "denied") return;
  console.warn(format === "json" ? denialJson(decision) : formatDenial(decision));
}

/** Prints an error of an app without `onError` to stderr. As JSON, it is one line. */
export function printLoggedError(error: unknown, where: string, repeats: number, format: LogFormat): void {
  console.error(
    format === "json"
      ? jsonLine({ level: "error", where, ...errorFields(error), ...(repeats > 0 ? { repeats } : {}) })
      : describeError(error, where, repeats),
  );
}

/**
 * Returns a line such as `403 eve@example.com /ws/chat needs chat.can_use_chat (why: cf5578728218)`.
 *
 * `npx sallyport why` prints the decision of the reference.
 */
export function formatDenial(decision: Decision): string {
  const { status, userId, view, path, handler, channel, reference, repeats } = decision;
  const user = userId === undefined ? "anonymous" : nameOf(userId);
  const place = [view ?? path, handler, channel].flatMap((part) => (part === undefined ? [] : nameOf(part)));
  const more = repeats > 0 ? `, ${repeats} more like this` : "";
  return printable(`${status} ${user} ${place.join(" ")}${summaryOf(decision)} (why: ${reference}${more})`);
}

/** Returns the missing permissions after a space, or the message of another denial after a colon. */
function summaryOf({ missing, message, steps, event }: Decision): string {
  if (missing.length === 0) return `: ${message}`;
  const failed = steps.findLast((step) => !step.allowed);
  const allOf: readonly string[] = failed?.kind === "rule" ? failed.rule.allOf : [];
  const needsAll = missing.every((name) => allOf.includes(name));
  return ` ${event === "revocation" ? "lost" : "needs"} ${missing.join(needsAll ? " and " : " or ")}`;
}

/**
 * Returns a name from a client or the app. It is quoted if it could be read as another part of the
 * line.
 */
function nameOf(text: string): string {
  return text !== "anonymous" && /^[^\s"()]+$/u.test(text) ? text : JSON.stringify(text);
}

function denialJson({ steps: _steps, verdict: _verdict, ...decision }: Decision): string {
  return jsonLine({ level: "warn", ...decision });
}

function jsonLine(fields: object): string {
  return printable(JSON.stringify(fields));
}
