import { styleText } from "node:util";
import { printable } from "../format-value.ts";

/** Colors of `util.styleText`. */
export type Color = "green" | "yellow" | "red" | "gray" | "cyan";

/** Colors the first word of a line. */
export function withColor(line: string, color: Color): string {
  const [first = ""] = line.split(" ", 1);
  return styleText(color, first) + line.slice(first.length);
}

/** Returns the color of a line that begins with an HTTP status, or undefined for another line. */
export function statusColor(line: string): Color | undefined {
  const [, status] = /^([2-5]\d\d) /.exec(line) ?? [];
  if (status === undefined) return undefined;
  return status < "300" ? "green" : status < "500" ? "red" : "yellow";
}

/** The output of a command, and its global option. */
export interface Terminal {
  /**
   * Writes a line to stdout.
   *
   * @param color the color of the first word, if stdout is a terminal. Default: none
   */
  print(line: string, color?: Color): void;
  /** Writes a line to stderr. */
  complain(line: string): void;
  /** Returns the value of `--app`, or undefined without it. */
  app(): string | undefined;
  /** Sets the exit code of a command that succeeded. Default 0. */
  end(code: number): void;
}

/** Returns a typed text in quotes, shortened to 100 characters. */
export function quoted(text: string): string {
  return text.length > 100 ? `"${text.slice(0, 100)}…" (${text.length} characters)` : `"${text}"`;
}

/** Characters that are kept at the beginning and at the end of a very long error. */
const EXCERPT_LENGTH = 1000;

/** Returns the message. That of an `AggregateError` is empty when Node.js throws it. */
function messageOf(error: Error): string {
  if (error.message !== "") return error.message;
  return error instanceof AggregateError ? error.errors.map(oneLine).join(", ") : error.name;
}

/** Returns the message of an error on one line. */
export function oneLine(error: unknown): string {
  const message = error instanceof Error ? messageOf(error) : String(error);
  const line = printable(message.trim().replaceAll(/\s*[\r\n]+\s*/g, " "));
  if (line.length <= 2 * EXCERPT_LENGTH) return line;
  return `${line.slice(0, EXCERPT_LENGTH)} … ${line.slice(-EXCERPT_LENGTH)}`;
}
