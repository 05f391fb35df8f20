import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type ParseEntry, parse } from "shell-quote";
import { commandsOf } from "../../src/cli/examples.ts";
import { commandLine } from "../../src/cli/main.ts";
import { type Page, ROOT, type Sample } from "./pages.ts";

const SILENT = { print: () => undefined, complain: () => undefined, end: () => undefined };

/** The scripts of the package, of its templates and of its examples. */
const SCRIPTS: ReadonlySet<string> = new Set(
  ["", ...["templates", "examples", "examples/deploy"].flatMap(foldersIn)].flatMap((folder) => {
    const file = join(ROOT, folder, "package.json");
    return existsSync(file) ? Object.keys(JSON.parse(readFileSync(file, "utf8")).scripts ?? {}) : [];
  }),
);

function foldersIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`);
}

/** Returns the commands of a sample, each as a list of words, without assignments and redirections. */
function commandsIn(code: string, variables: ReadonlyMap<string, string>): readonly (readonly string[])[] {
  const lines = code.replaceAll(/\\\n\s*/g, " ").split("\n");
  return lines.flatMap((line) => {
    const commands: string[][] = [[]];
    let isRedirected = false;
    for (const entry of parse(line, (name) => variables.get(name) ?? `$${name}`)) {
      if (isRedirected) isRedirected = false;
      else if (isOperator(entry, REDIRECTIONS)) isRedirected = true;
      else if (isOperator(entry, SEPARATORS)) commands.push([]);
      else if (typeof entry === "string") commands.at(-1)?.push(entry);
      else if ("pattern" in entry) commands.at(-1)?.push(entry.pattern);
    }
    return commands.map(withoutAssignments).filter((words) => words.length > 0);
  });
}

const SEPARATORS = ["&&", "||", ";", "|", "&", "(", ")"];
const REDIRECTIONS = [">", ">>", "<"];

const isOperator = (entry: ParseEntry, operators: readonly string[]) =>
  typeof entry === "object" && "op" in entry && operators.includes(entry.op);

function withoutAssignments(words: readonly string[]): readonly string[] {
  const first = words.findIndex((word) => !/^\w+=/.test(word) && word !== "export");
  return first === -1 ? [] : words.slice(first);
}

/** Parses a command of `npx sallyport`, without running it. Returns what is wrong with it. */
async function wrongCommand(words: readonly string[]): Promise<string | undefined> {
  const program = commandLine(SILENT);
  let hasRun = false;
  const complaints: string[] = [];
  for (const command of [program, ...commandsOf(program).map(([, each]) => each)]) {
    command.exitOverride().configureOutput({ writeErr: (text) => complaints.push(text.trim()) });
  }
  for (const [, command] of commandsOf(program)) {
    command.action(() => {
      hasRun = true;
    });
  }
  const asked = words.some((word) => ["--help", "--version", "help"].includes(word));
  await program.parseAsync([...words], { from: "user" }).catch((error: Error) => {
    if (complaints.length === 0 && !asked) complaints.push(error.message);
  });
  return hasRun || asked ? undefined : complaints.join(" ") || "the command does not exist";
}

/** Returns what is wrong with a command, or undefined. */
async function wrong(words: readonly string[]): Promise<string | undefined> {
  const [program, second, ...rest] = words;
  if (program === "npx" && second === "sallyport") return wrongCommand(rest);
  if (program === "npm" && second === "run") {
    const script = rest.find((word) => !word.startsWith("-")) ?? "";
    return SCRIPTS.has(script) ? undefined : `no package.json has the script "${script}"`;
  }
  if (program === "npx" && second === "vitest") {
    const missing = rest.find((word) => word.startsWith("test/") && !existsSync(join(ROOT, word)));
    return missing === undefined ? undefined : `${missing} does not exist`;
  }
  return undefined;
}

/** Checks the shell samples of a page: their syntax, and that their commands and scripts exist. */
export async function checkShell({ samples }: Page) {
  const own = samples.filter(({ language }) => language === "sh");
  const assignments = own.flatMap(({ code }) => [...code.matchAll(/(\w+)=(\S+)/g)]);
  const variables = new Map(assignments.map(([, name = "", value = ""]) => [name, value]));
  const commands = own.flatMap(({ place, code }) =>
    commandsIn(code, variables).map((words) => ({ place, words })),
  );
  const found = await Promise.all(
    commands.map(async ({ place, words }) => {
      const reason = await wrong(words);
      return reason === undefined ? [] : [`${place} \`${words.join(" ")}\`: ${reason}`];
    }),
  );
  return { count: commands.length, errors: [...own.flatMap(syntaxErrors), ...found.flat()] };
}

function syntaxErrors({ place, code }: Sample): readonly string[] {
  try {
    execFileSync("bash", ["-n"], { input: code, stdio: ["pipe", "ignore", "pipe"] });
    return [];
  } catch (error) {
    return [`${place}: ${String((error as { stderr: Buffer }).stderr).trim()}`];
  }
}
