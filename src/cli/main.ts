import { Command, CommanderError } from "commander";
import { addGateway } from "./gateway.ts";
import { addMigrate } from "./migrate.ts";
import type { Terminal } from "./terminal.ts";
import { addUsers } from "./users.ts";

/**
 * The command line. Errors are one line on stderr.
 *
 * @param args without node and script
 * @returns the exit code: 0, or 1 when something was wrong
 */
export async function run(
  args: readonly string[],
  print: (line: string) => void = (line) => process.stdout.write(`${line}\n`),
  complain: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): Promise<number> {
  const program = new Command("sallyport")
    .description("Sallyport: WebSocket backends behind AWS API Gateway, with permissions that really hold")
    .option(
      "--app <file>",
      'module that exports the app\'s Sallyport; default: "sallyport": { "app" } of package.json',
    )
    .showHelpAfterError("(--help shows how)");
  const terminal: Terminal = { print, complain, app: () => program.opts<{ app?: string }>().app };
  addMigrate(program, terminal);
  addUsers(program, terminal);
  addGateway(program, terminal);
  quiet(program, print, complain);
  try {
    await program.parseAsync([...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    complain(`sallyport: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
}

/** Commander itself must neither end the process nor write past us, in no command. */
function quiet(command: Command, print: (line: string) => void, complain: (line: string) => void): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => print(text.trimEnd()),
    writeErr: (text) => complain(text.trimEnd()),
  });
  for (const child of command.commands) quiet(child, print, complain);
}
