import { Argument, type Command, type Option } from "commander";
import { type Format, print, withJson } from "./report.ts";
import type { Terminal } from "./terminal.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

/** Adds `completion`, which prints a script for a shell. */
export function addCompletion(program: Command, terminal: Terminal): void {
  const completion = program
    .command("completion")
    .description("Print the script that completes commands and options in a shell")
    .addArgument(new Argument("<shell>", "bash, zsh or fish").choices(SHELLS));
  withJson(completion).action((shell: Shell, options: Format) => {
    const lines = completionScript(program, shell);
    print(terminal, options, { json: { shell, script: `${lines.join("\n")}\n` }, lines });
  });
}

/** Returns the lines of a script that completes the commands of a program. */
export function completionScript(program: Command, shell: Shell): readonly string[] {
  if (shell === "fish") return fishLines(program, []);
  const bash = [
    "_sallyport() {",
    '  local word="$2" path=" " option="" words="" i each',
    "  for ((i = 1; i < COMP_CWORD; i++)); do",
    "    each=$" + "{COMP_WORDS[i]}",
    // Bash separates --option=value into three words.
    '    if [[ "$each" == "=" ]]; then continue; fi',
    '    if [[ -n "$option" ]]; then option=""; continue; fi',
    '    if [[ "$each" != -* ]]; then path="$path$each "; continue; fi',
    '    case "$path$each" in',
    `      ${valuePatterns(program).join("|")}) option="$each" ;;`,
    "    esac",
    "  done",
    '  if [[ "$word" == "=" ]]; then word=""; fi',
    '  if [[ -n "$option" ]]; then',
    '    case "$path$option" in',
    ...choiceLines(program),
    "    esac",
    "  else",
    '    case "$path" in',
    ...caseLines(program),
    "    esac",
    "  fi",
    '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
    "}",
    // Without a match, the shell completes names of files.
    "complete -o default -F _sallyport sallyport",
    ...npxLines(shell),
  ];
  return shell === "bash" ? bash : [...ZSH_SETUP, ...bash];
}

/** The completion functions of zsh are not loaded by default, for example on macOS. */
const ZSH_SETUP = [
  "whence compdef >/dev/null || { autoload -Uz compinit && compinit -i; }",
  "autoload -U +X bashcompinit && bashcompinit",
];

/** Completes the words after `npx sallyport`. An existing completion of npx is kept. */
function npxLines(shell: "bash" | "zsh"): readonly string[] {
  const exists = shell === "bash" ? "complete -p npx >/dev/null 2>&1" : "(( $" + "{+_comps[npx]} ))";
  return [
    "_sallyport_npx() {",
    '  if [[ "$' + '{COMP_WORDS[1]}" != "sallyport" ]] || ((COMP_CWORD < 2)); then COMPREPLY=(); return; fi',
    '  COMP_WORDS=("$' + '{COMP_WORDS[@]:1}")',
    "  ((COMP_CWORD--))",
    '  _sallyport sallyport "$2"',
    "}",
    `if ! ${exists}; then complete -o default -F _sallyport_npx npx; fi`,
  ];
}

/** Returns the words that can follow a command: its subcommands, or else its options. */
function wordsAfter(command: Command): readonly string[] {
  if (command.commands.length > 0) return command.commands.map((child) => child.name());
  return [
    ...command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    ...command.options.flatMap(({ long }) => long ?? []),
    "--help",
  ];
}

/** An option that takes a value, and the patterns of the words before the value. */
interface ValueOption {
  readonly option: Option;
  readonly patterns: readonly string[];
}

/** Returns the options of a command and its subcommands that take a value. */
function valueOptions(command: Command, path: string): readonly ValueOption[] {
  const own = command.options
    .filter(({ required }) => required)
    .map((option) => {
      const names = [option.long, option.short].flatMap((name) => name ?? []);
      // The words of a path end with a space, so that "why" does not match "whyx".
      return { option, patterns: names.map((name) => `"${path}"*"${name}"`) };
    });
  return [...own, ...command.commands.flatMap((child) => valueOptions(child, `${path}${child.name()} `))];
}

const valuePatterns = (program: Command) => valueOptions(program, " ").flatMap(({ patterns }) => patterns);

/** Returns a line of `case` for each option with choices. */
function choiceLines(program: Command): readonly string[] {
  return valueOptions(program, " ").flatMap(({ option, patterns }) =>
    option.argChoices ? [`      ${patterns.join("|")}) words="${option.argChoices.join(" ")}" ;;`] : [],
  );
}

/** Returns a line of `case` for each command. The arguments of a command do not change its options. */
function caseLines(command: Command, path = " "): readonly string[] {
  const pattern = command.commands.length > 0 ? `"${path}"` : `"${path}"*`;
  return [
    ...command.commands.flatMap((child) => caseLines(child, `${path}${child.name()} `)),
    `      ${pattern}) words="${wordsAfter(command).join(" ")}" ;;`,
  ];
}

function fishLines(command: Command, path: readonly string[]): readonly string[] {
  const seen = path.map((name) => `__fish_seen_subcommand_from ${name}`);
  const names = command.commands.map((child) => child.name());
  if (names.length === 0) {
    const condition = seen.join("; and ");
    return [
      ...command.registeredArguments.flatMap(({ argChoices }) =>
        argChoices ? [`complete -c sallyport -f -n "${condition}" -a ${quoted(argChoices.join(" "))}`] : [],
      ),
      ...command.options.map((option) => `complete -c sallyport -n "${condition}"${fishOption(option)}`),
    ];
  }
  const condition = [...seen, `not __fish_seen_subcommand_from ${names.join(" ")}`].join("; and ");
  return [
    ...(path.length === 0
      ? command.options.map((option) => `complete -c sallyport${fishOption(option)}`)
      : []),
    ...command.commands.flatMap((child) => [
      `complete -c sallyport -f -n "${condition}" -a ${child.name()} -d ${quoted(child.description())}`,
      ...fishLines(child, [...path, child.name()]),
    ]),
  ];
}

/** Returns the part of a line that describes an option. */
function fishOption({ long, description, required, argChoices }: Option): string {
  const value = argChoices ? ` -x -a ${quoted(argChoices.join(" "))}` : required ? " -r" : "";
  return ` -l ${long?.slice(2)}${value} -d ${quoted(description)}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`;
}
