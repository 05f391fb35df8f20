/** Programs with a mode that restarts a file when it changes, and the arguments of that mode. */
const RELOAD: Readonly<Record<string, readonly string[]>> = {
  tsx: ["watch", "--clear-screen=false"],
  bun: ["--watch", "--no-clear-screen"],
};

/** Options of a program that watches files by itself, or runs no file. */
const OTHER_MODES = /^(?:watch|--watch.*|-e|--eval|-p|--print|--run|--test)$/;

/** Returns the command with the arguments that restart the server when one of its files changes. */
export function withReload(command: readonly string[]): readonly string[] {
  const [program = "", ...args] = command;
  const reload = RELOAD[program];
  return reload && runsFile(args) ? [program, ...reload, ...args] : command;
}

/** Returns whether `dev` restarts the command when one of its files changes: `node server.js`. */
export function isWatched([program, ...args]: readonly string[]): boolean {
  return program === "node" && runsFile(args);
}

// Without a file there is nothing to watch, as in `node --eval`.
function runsFile([first = ""]: readonly string[]): boolean {
  return first !== "" && !OTHER_MODES.test(first);
}
