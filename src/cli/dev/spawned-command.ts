/** The arguments of `spawn` of `node:child_process`. */
export interface SpawnedCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** Whether cmd.exe runs the file. */
  readonly shell: boolean;
}

/**
 * Returns the arguments with which `spawn` runs a command.
 *
 * On Windows, the programs of npm packages are `.cmd` files, which only cmd.exe can run. Node.js
 * does not quote the arguments of a shell, so this function does. Programs that end with `.exe`,
 * and `node`, need no shell.
 */
export function spawnedCommand(
  command: readonly string[],
  platform: NodeJS.Platform = process.platform,
): SpawnedCommand {
  const [program = "", ...args] = command;
  if (platform !== "win32" || /^node$|\.exe$/i.test(program)) return { file: program, args, shell: false };
  // cmd.exe reads a slash of a program without quotes as the begin of an option.
  const words = [program.includes("/") ? `"${program}"` : quotedForCmd(program), ...args.map(quotedForCmd)];
  return { file: words.join(" "), args: [], shell: true };
}

/**
 * Quotes an argument for cmd.exe and for the program. A quote is doubled, because cmd.exe does not
 * know `\"`. Variables such as `%PORT%` are expanded, because cmd.exe has no escape for them.
 */
function quotedForCmd(argument: string): string {
  if (/^[\w@:./\\=+-]+$/.test(argument)) return argument;
  // Backslashes before a quote belong to the quote, so they are doubled.
  return `"${argument.replace(/(\\*)"/g, '$1$1""').replace(/(\\+)$/, "$1$1")}"`;
}
