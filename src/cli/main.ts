import { readFileSync } from "node:fs";
import { styleText } from "node:util";
import { Command, CommanderError } from "commander";
import { printableLines } from "../format-value.ts";
import { addAudit } from "./audit.ts";
import { addCleanup } from "./cleanup.ts";
import { addCompletion } from "./completion.ts";
import { addConnections } from "./connections.ts";
import { databaseAdvice } from "./database-advice.ts";
import { addDecisions } from "./decisions.ts";
import { addDev } from "./dev.ts";
import { addDoctor } from "./doctor.ts";
import { addExamples } from "./examples.ts";
import { addGateway } from "./gateway.ts";
import { addGroups } from "./groups.ts";
import { addImportDjango } from "./import-django.ts";
import { addInit } from "./init.ts";
import { addLimits } from "./limits.ts";
import { addLocal } from "./local.ts";
import { addMigrate } from "./migrate.ts";
import { packageFile } from "./package-file.ts";
import { addPermissions } from "./permissions.ts";
import { oneLine, type Terminal, withColor } from "./terminal.ts";
import { addUsers } from "./users.ts";
import { addWhy } from "./why.ts";

/**
 * Runs a command. An error is printed as one line on stderr.
 *
 * @param args the arguments without those of Node.js and the script
 * @param print writes a line to stdout
 * @param complain writes a line to stderr
 * @returns the exit code: 0, or 1 after an error. Also 1 if `permissions diff` found a rule that
 *   widens or is new, `gateway status` found a difference, or a check of `doctor` failed.
 */
export async function run(
  args: readonly string[],
  print: (line: string) => void = linesTo(process.stdout),
  complain: (line: string) => void = linesTo(process.stderr),
): Promise<number> {
  let exitCode = 0;
  const end = (code: number) => {
    exitCode = code;
  };
  const complainSafely = (line: string) => complain(printableLines(line));
  const program = commandLine({
    print: (line, color) => {
      const text = printableLines(line);
      print(color && hasColors() ? withColor(text, color) : text);
    },
    complain: complainSafely,
    end,
  });
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    const advice = databaseAdvice(error);
    complainSafely(`sallyport: ${oneLine(error)}${advice === undefined ? "" : ` ${advice}`}`);
    return 1;
  }
}

/** Creates the program with all of its commands. */
export function commandLine(output: Omit<Terminal, "app">): Command {
  const program = new Command("sallyport")
    .description("Sallyport: WebSocket backends behind AWS API Gateway, with permissions")
    .option(
      "--app <file>",
      'the module that exports the Sallyport object (default: "sallyport": { "app" } of package.json)',
    )
    .version(versionOf(), "-v, --version", "print the version")
    .configureHelp({
      showGlobalOptions: true,
      // Commander removes the colors if the output is no terminal, and for NO_COLOR.
      styleTitle: (text) => styleText("bold", text),
      styleCommandText: (text) => styleText("cyan", text),
      styleSubcommandText: (text) => styleText("cyan", text),
      styleOptionText: (text) => styleText("green", text),
    });
  const terminal: Terminal = { ...output, app: () => program.opts<{ app?: string }>().app };
  addInit(program, terminal);
  addDev(program, terminal);
  addDoctor(program, terminal);
  addMigrate(program, terminal);
  addUsers(program, terminal);
  addGroups(program, terminal);
  addPermissions(program, terminal);
  addWhy(program, terminal);
  addAudit(program, terminal);
  addDecisions(program, terminal);
  addConnections(program, terminal);
  addLimits(program, terminal);
  addCleanup(program, terminal);
  addGateway(program, terminal);
  addImportDjango(program, terminal);
  addLocal(program, terminal);
  addCompletion(program, terminal);
  addExamples(program);
  redirectOutput(program, terminal);
  return program;
}

/** NO_COLOR turns colors off. Source: no-color.org. */
function hasColors(): boolean {
  return process.stdout.isTTY === true && !process.env.NO_COLOR;
}

/** Returns the version in the package.json of Sallyport. */
function versionOf(): string {
  return (JSON.parse(readFileSync(packageFile("package.json"), "utf8")) as { version: string }).version;
}

/**
 * Returns a function that writes lines to a stream. A reader such as `head` can close the stream
 * early, and the command then continues.
 */
function linesTo(stream: NodeJS.WriteStream): (line: string) => void {
  const write = stream.write.bind(stream);
  stream.off("error", ignoreClosedPipe).on("error", ignoreClosedPipe);
  return (line) => write(`${line}\n`);
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

/**
 * Configures a command and its subcommands to write to the terminal object. Commander would
 * otherwise write to the process and exit it.
 */
function redirectOutput(command: Command, terminal: Terminal): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => terminal.print(text.trimEnd()),
    writeErr: (text) => terminal.complain(text.trimEnd()),
    outputError: (text) =>
      terminal.complain(`sallyport: ${oneLine(text.replace(/^error: /, ""))} (use --help to see the usage)`),
  });
  for (const child of command.commands) redirectOutput(child, terminal);
}
