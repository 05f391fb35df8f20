import type { Argument, Command, Option } from "commander";
import { commandsOf, examplesOf } from "../../src/cli/examples.ts";
import { commandLine } from "../../src/cli/main.ts";

const program = commandLine({ print: () => undefined, complain: () => undefined, end: () => undefined });

/**
 * Returns docs/reference/cli.md with the tables of commands of this code. A table is between
 * `<!-- commands: users groups -->` and `<!-- end of commands -->`. The other text is kept.
 *
 * @throws Error if a command of the program is in no table, or a table names an unknown command
 */
export function cliPage(page: string): string {
  const listed = new Set<string>();
  const text = page.replaceAll(
    /<!-- commands: ([\w -]+) -->\n[\s\S]*?<!-- end of commands -->/g,
    (_all, names: string) => {
      const rows = names.split(" ").flatMap((name) => {
        listed.add(name);
        return commandsIn(name).map(rowOf);
      });
      const table = ["| command | description |", "| --- | --- |", ...rows].join("\n");
      return `<!-- commands: ${names} -->\n\n${table}\n\n<!-- end of commands -->`;
    },
  );
  const missing = program.commands.map((command) => command.name()).filter((name) => !listed.has(name));
  if (missing.length > 0) {
    throw new Error(
      `docs/reference/cli.md has no table for: ${missing.join(", ")}. Add the lines ` +
        `<!-- commands: ${missing[0]} --> and <!-- end of commands -->.`,
    );
  }
  return text;
}

/** Returns docs/reference/cli-commands.md. */
export function cliCommandsPage(): string {
  const parts = program.commands.map((command) => {
    const children = commandsOf(command, command.name());
    if (children.length === 0) return describe(command.name(), command, "##");
    const sections = children.map(([path, child]) => describe(path, child, "###"));
    return [`## ${command.name()}`, ...sections].join("\n\n");
  });
  return `${INTRODUCTION}\n\n${parts.join("\n\n")}\n`;
}

const INTRODUCTION = `# Commands

This page lists the arguments and options of each command of \`npx sallyport\`.

<!-- Generated from src/cli. After a change of a command, run: npm run docs:cli -->

\`\`\`sh
npx sallyport users grant ann@example.com chat.can_use_chat --reason "new member"
npx sallyport users grant --help
\`\`\`

[Command line](cli.md) describes how to select the app, the output, the exit codes, and what the
commands do. Each command also has these options:

| option | default | meaning |
| --- | --- | --- |
| \`--app <file>\` | the entry in \`package.json\` | the module that exports the Sallyport object |
| \`--json\` | off | print one JSON document |
| \`--help\` | | print the help of the command |`;

/** Returns the commands of a top-level command that can be run, with their paths. */
function commandsIn(name: string): readonly (readonly [string, Command])[] {
  const commands = commandsOf(program).filter(([path]) => path === name || path.startsWith(`${name} `));
  if (commands.length === 0) throw new Error(`docs/reference/cli.md: there is no command "${name}".`);
  return commands;
}

function rowOf([path, command]: readonly [string, Command]): string {
  const usage = [path, ...command.registeredArguments.map(argumentName)].join(" ");
  return `| [\`${cell(usage)}\`](cli-commands.md#${path.replaceAll(" ", "-")}) | ${cell(command.description())} |`;
}

function describe(path: string, command: Command, heading: string): string {
  const options = command.options.filter(({ long, hidden }) => long !== "--json" && !hidden);
  const examples = examplesOf(path).map((example) => `npx sallyport ${example}`);
  return [
    `${heading} ${path}`,
    sentence(command.description()),
    fence("text", [`npx sallyport ${path} ${command.usage()}`]),
    ...(examples.length > 0 ? [fence("sh", examples)] : []),
    ...table(["argument", "default", "meaning"], command.registeredArguments.map(argumentRow)),
    ...table(["option", "default", "meaning"], options.map(optionRow)),
  ].join("\n\n");
}

const fence = (language: string, lines: readonly string[]) =>
  `\`\`\`${language}\n${lines.join("\n")}\n\`\`\``;

function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  if (rows.length === 0) return [];
  const lines = [head, head.map(() => "---"), ...rows].map((cells) =>
    `| ${cells.join(" | ")} |`.replaceAll("|  |", "| |"),
  );
  return [lines.join("\n")];
}

function argumentRow(argument: Argument): readonly string[] {
  const { text, standard } = meaningOf(argument.description, argument.argChoices, argument.defaultValue);
  return [`\`${cell(argumentName(argument))}\``, argument.required ? "required" : standard, text];
}

function optionRow(option: Option): readonly string[] {
  const { text, standard } = meaningOf(option.description, option.argChoices, option.defaultValue);
  return [`\`${cell(option.flags)}\``, option.mandatory ? "required" : standard, text];
}

function argumentName(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

/** Separates the default from a description, such as "the port (default: 3000)". */
function meaningOf(description: string, choices: readonly string[] | undefined, defaultValue: unknown) {
  const [, text = description, inText] = /^(.*) \(default:? (.*)\)$/.exec(description) ?? [];
  // A list of values is repeated in some descriptions.
  const allowed =
    choices === undefined || choices.every((choice) => text.includes(choice))
      ? ""
      : `: ${choices.map((choice) => `\`${choice}\``).join(", ")}`;
  const standard = defaultValue === undefined || defaultValue === false ? inText : String(defaultValue);
  return { text: cell(`${text}${allowed}`), standard: cell(standard ?? "") };
}

const sentence = (text: string) => `${text.replace(/\.$/, "")}.`;

const cell = (text: string) => text.replaceAll("|", "\\|");
