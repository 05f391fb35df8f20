import type { Command } from "commander";
import { printable } from "../format-value.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import type { Color, Terminal } from "./terminal.ts";

/** The output of a command in both forms. */
export interface Report {
  /** The document that `--json` prints. */
  readonly json: unknown;
  /** The lines of the text form. */
  readonly lines: readonly string[];
  /** Returns the color of a line. Default: none. */
  readonly color?: (line: string) => Color | undefined;
  /** Exit code. Default 0. */
  readonly code?: number;
}

/** Options that every command has. */
export interface Format {
  readonly json?: boolean;
}

/** Makes a command print the report of a query to the Sallyport object, as text or as JSON. */
export function reporting<Options extends Format>(
  command: Command,
  terminal: Terminal,
  query: (sallyport: Sallyport, options: Options, args: readonly string[]) => Promise<Report>,
): void {
  withJson(command).action(() =>
    withApp(terminal.app(), async (sallyport) => {
      const options = command.opts<Options>();
      print(terminal, options, await query(sallyport, options, command.args));
    }),
  );
}

/** Adds `--json`. */
export function withJson(command: Command): Command {
  return command.option("--json", "print one JSON document");
}

/** Prints a report in the form that the options select. */
export function print(terminal: Terminal, options: Format, { json, lines, color, code = 0 }: Report): void {
  if (options.json) terminal.print(printable(JSON.stringify(json)));
  else for (const line of lines) terminal.print(printable(line), color?.(line));
  terminal.end(code);
}
