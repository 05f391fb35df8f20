import type { Command } from "commander";
import { printable } from "../printable.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import type { Terminal } from "./terminal.ts";

/** What a command has to say, told both ways. */
export interface Report {
  /** With `--json`: exactly one document. */
  readonly json: unknown;
  /** For a person. */
  readonly lines: readonly string[];
  /** Exit code. Default 0. */
  readonly code?: number;
}

/** Options that every command has. */
export interface Format {
  readonly json?: boolean;
}

/** Makes a command answer with a report of what it asks the app's Sallyport, or as JSON where that is wanted. */
export function reporting<Options extends Format>(
  command: Command,
  terminal: Terminal,
  ask: (sallyport: Sallyport, options: Options, args: readonly string[]) => Promise<Report>,
): void {
  withJson(command).action(() =>
    withApp(terminal.app(), async (sallyport) => {
      const options = command.opts<Options>();
      print(terminal, options, await ask(sallyport, options, command.args));
    }),
  );
}

/** Adds `--json`. */
export function withJson(command: Command): Command {
  return command.option("--json", "as one JSON document");
}

/** Prints a report in the form that was asked for. */
export function print(terminal: Terminal, options: Format, { json, lines, code = 0 }: Report): void {
  for (const line of options.json ? [JSON.stringify(json)] : lines) terminal.print(printable(line));
  terminal.end(code);
}
