/** Programs with a mode that restarts a file when it changes, and the arguments of that mode. */
const RELOAD: Readonly<Record<string, readonly string[]>> = {
  node: ["--watch", "--watch-preserve-output"],
  tsx: ["watch", "--clear-screen=false"],
  bun: ["--watch", "--no-clear-screen"],
};

/** Returns the command with the arguments that restart the server when one of its files changes. */
export function withReload(command: readonly string[]): readonly string[] {
  const [program = "", ...args] = command;
  const reload = RELOAD[program];
  const [first = ""] = args;
  // Without a file there is nothing to watch, as in `node --eval`.
  if (!reload || args.length === 0 || /^(?:watch|--watch.*|-e|--eval|-p|--print)$/.test(first))
    return command;
  return [program, ...reload, ...args];
}
