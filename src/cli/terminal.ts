import { printable } from "../printable.ts";

/** What a command needs of the place it runs in. */
export interface Terminal {
  print(line: string): void;
  complain(line: string): void;
  /** `--app`, where it was given. */
  app(): string | undefined;
  /** The exit code of a command that went well. Default 0. */
  end(code: number): void;
}

/** What somebody typed, in quotes and short enough to be read. */
export function quoted(text: string): string {
  return text.length > 100 ? `"${text.slice(0, 100)}…" (${text.length} characters)` : `"${text}"`;
}

/** Characters of an error that are shown before and after what is left out of a very long one. */
const SHOWN_OF_ERROR = 1000;

/** An error's message as one line, however its author broke it. */
export function oneLine(error: unknown): string {
  const words = error instanceof Error ? error.message || error.name : String(error);
  const line = printable(words.trim().replaceAll(/\s*[\r\n]+\s*/g, " "));
  if (line.length <= 2 * SHOWN_OF_ERROR) return line;
  return `${line.slice(0, SHOWN_OF_ERROR)} … ${line.slice(-SHOWN_OF_ERROR)}`;
}
