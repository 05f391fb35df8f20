import { Argument, type Command } from "commander";
import type { Terminal } from "./terminal.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

/** Adds `completion`, which prints a script for a shell. */
export function addCompletion(program: Command, terminal: Terminal): void {
  program
    .command("completion")
    .description("Print the script that completes commands and options in a shell")
    .addArgument(new Argument("<shell>", "bash, zsh or fish").choices(SHELLS))
    .action((shell: Shell) => {
      for (const line of completionScript(program, shell)) terminal.print(line);
    });
}

/** Returns the lines of a script that completes the commands of a program. */
export function completionScript(program: Command, shell: Shell): readonly string[] {
  if (shell === "fish") return fishLines(program, []);
  const bash = [
    "_sallyport() {",
    '  local word="$2" path="" i each',
    "  for ((i = 1; i < COMP_CWORD; i++)); do",
    "    each=$" + "{COMP_WORDS[i]}",
    '    [[ "$each" == -* ]] || path="$path $each"',
    "  done",
    "  local words",
    '  case "$path" in',
    ...caseLines(program, ""),
    "  esac",
    '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
    "}",
    "complete -F _sallyport sallyport",
  ];
  return shell === "bash" ? bash : ["autoload -U +X bashcompinit && bashcompinit", ...bash];
}

/** Returns the words that can follow a command: its subcommands, or else its options. */
function wordsAfter(command: Command): readonly string[] {
  if (command.commands.length > 0) return command.commands.map((child) => child.name());
  return [...command.options.flatMap(({ long }) => long ?? []), "--help"];
}

/** Returns a line of `case` for each command. The arguments of a command do not change its options. */
function caseLines(command: Command, path: string): readonly string[] {
  const pattern = command.commands.length > 0 ? `"${path}"` : `"${path}"*`;
  return [
    ...command.commands.flatMap((child) => caseLines(child, `${path} ${child.name()}`)),
    `    ${pattern}) words="${wordsAfter(command).join(" ")}" ;;`,
  ];
}

function fishLines(command: Command, path: readonly string[]): readonly string[] {
  const seen = path.map((name) => `__fish_seen_subcommand_from ${name}`);
  const names = command.commands.map((child) => child.name());
  if (names.length === 0) {
    const condition = seen.join("; and ");
    return command.options.map(
      ({ long, description }) =>
        `complete -c sallyport -n "${condition}" -l ${long?.slice(2)} -d ${quoted(description)}`,
    );
  }
  const condition = [...seen, `not __fish_seen_subcommand_from ${names.join(" ")}`].join("; and ");
  return command.commands.flatMap((child) => [
    `complete -c sallyport -f -n "${condition}" -a ${child.name()} -d ${quoted(child.description())}`,
    ...fishLines(child, [...path, child.name()]),
  ]);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`;
}
