import { Command, CommanderError } from "commander";
import { printableLines } from "../printable.ts";
import { addAudit } from "./audit.ts";
import { addCleanup } from "./cleanup.ts";
import { addSessions } from "./connections.ts";
import { addDecisions } from "./decisions.ts";
import { addGateway } from "./gateway.ts";
import { addGroups } from "./groups.ts";
import { addLimits } from "./limits.ts";
import { addMigrate } from "./migrate.ts";
import { addPermissions } from "./permissions.ts";
import { oneLine, type Terminal } from "./terminal.ts";
import { addUsers } from "./users.ts";
import { addWhatCan } from "./what-can.ts";
import { addWhoCan } from "./who-can.ts";
import { addWhy } from "./why.ts";

/**
 * The command line. Errors are one line on stderr.
 *
 * @param args without node and script
 * @returns the exit code: 0, or 1 when something was wrong or `permissions diff` found a rule that widens
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
    print: (line) => print(printableLines(line)),
    complain: complainSafely,
    end,
  });
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    complainSafely(`sallyport: ${oneLine(error)}`);
    return 1;
  }
}

/** Every command there is. */
export function commandLine(place: Omit<Terminal, "app">): Command {
  const program = new Command("sallyport")
    .description("Sallyport: WebSocket backends behind AWS API Gateway, with permissions that really hold")
    .option(
      "--app <file>",
      'module that exports the app\'s Sallyport; default: "sallyport": { "app" } of package.json',
    )
    .configureHelp({ showGlobalOptions: true });
  const terminal: Terminal = { ...place, app: () => program.opts<{ app?: string }>().app };
  addMigrate(program, terminal);
  addUsers(program, terminal);
  addGroups(program, terminal);
  addPermissions(program, terminal);
  addWhy(program, terminal);
  addWhoCan(program, terminal);
  addWhatCan(program, terminal);
  addAudit(program, terminal);
  addDecisions(program, terminal);
  addSessions(program, terminal);
  addLimits(program, terminal);
  addCleanup(program, terminal);
  addGateway(program, terminal);
  quiet(program, terminal);
  return program;
}

/** A reader that hangs up, such as `head`, has read enough; the command goes on to its end. */
function linesTo(stream: NodeJS.WriteStream): (line: string) => void {
  const write = stream.write.bind(stream);
  stream.off("error", allowHangUp).on("error", allowHangUp);
  return (line) => write(`${line}\n`);
}

function allowHangUp(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

/** Commander itself must neither end the process nor write past us, in no command, and its errors are one line too. */
function quiet(command: Command, terminal: Terminal): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => terminal.print(text.trimEnd()),
    writeErr: (text) => terminal.complain(text.trimEnd()),
    outputError: (text) =>
      terminal.complain(`sallyport: ${oneLine(text.replace(/^error: /, ""))} (--help shows how)`),
  });
  for (const child of command.commands) quiet(child, terminal);
}
