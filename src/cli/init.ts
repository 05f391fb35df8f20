import { existsSync } from "node:fs";
import { relative, resolve } from "node:path";
import { type Command, Option } from "commander";
import { ConfigurationError } from "../errors.ts";
import { planExistingApp } from "./init/existing-app.ts";
import { planNewApp } from "./init/new-app.ts";
import { install, PACKAGE_MANAGERS, type PackageManager, packageManagerOf } from "./init/package-manager.ts";
import { type Plan, planLines, writePlan } from "./init/plan.ts";
import { DATABASES, type Database, readProject } from "./init/project.ts";
import { cancelled, type Prompts, prompts } from "./init/prompts.ts";
import { TEMPLATES, type TemplateName } from "./init/templates.ts";
import { type Format, print, withJson } from "./report.ts";
import type { Terminal } from "./terminal.ts";

const NAMES = Object.keys(TEMPLATES) as TemplateName[];

/** Adds `init`, which creates an app or adds Sallyport to one. */
export function addInit(program: Command, terminal: Terminal): void {
  const init = program
    .command("init")
    .description("Create an app, or add Sallyport to the app in this folder")
    .argument("[folder]", "the folder of the app (default: this folder)")
    .addOption(new Option("--template <name>", "the template of a new app").choices(NAMES))
    .addOption(
      new Option("--package-manager <name>", "npm, pnpm, yarn or bun (default: that of the folder)").choices(
        PACKAGE_MANAGERS,
      ),
    )
    .addOption(
      new Option(
        "--database <name>",
        "sqlite or postgres, for an app that exists (default: PostgreSQL if the app uses it, else SQLite)",
      ).choices(DATABASES),
    )
    .option("--no-install", "do not install the packages")
    .option("-y, --yes", "do not ask, and use the defaults")
    .option("--dry-run", "print the changes, and write nothing");
  withJson(init).action((folder: string | undefined, options: InitOptions) =>
    runInit(terminal, folder, options),
  );
}

interface InitOptions extends Format {
  readonly template?: TemplateName;
  readonly packageManager?: PackageManager;
  readonly database?: Database;
  readonly install: boolean;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

async function runInit(
  terminal: Terminal,
  argument: string | undefined,
  options: InitOptions,
): Promise<void> {
  const ask = options.yes || options.json || options.dryRun ? undefined : await prompts();
  const plan = await planOf(argument, options, ask);
  const { folder, changes, kept } = plan;
  const manager = options.packageManager ?? packageManagerOf(folder);
  if (!options.json) {
    terminal.print(folder);
    for (const line of planLines(plan)) terminal.print(line);
  }
  const isWritten = !options.dryRun && changes.length > 0;
  if (isWritten) {
    if (!options.yes && !options.json) await confirm(ask);
    await writePlan(plan);
  }
  const failure = isWritten && options.install ? await install(manager, folder) : undefined;
  const isInstalled = changes.length === 0 || (options.install && !failure);
  const next = nextCommands(plan, manager, isInstalled);
  print(terminal, options, {
    json: {
      folder,
      changes: changes.map(({ path, added }) => ({ path, added: added ?? null })),
      kept,
      isWritten,
      next,
    },
    lines: ["", ...(isWritten ? [] : [emptyText(options)]), "Next:", ...next.map((step) => `  ${step}`)],
  });
  // The files are written, so the next steps are printed before the error.
  if (failure) throw failure;
}

/** @throws ConfigurationError if the user does not confirm, or if there is no terminal */
async function confirm(ask: Prompts | undefined): Promise<void> {
  if (!ask) {
    throw new ConfigurationError(
      "There is no terminal to confirm these changes, so nothing was written. Pass --yes to write them.",
    );
  }
  if (!(await ask.confirm("Write these changes?"))) throw cancelled();
}

/** Returns the plan for a new app, or for the app in the folder. */
async function planOf(
  argument: string | undefined,
  options: InitOptions,
  ask: Prompts | undefined,
): Promise<Plan> {
  const inFolder = resolve(argument ?? ".");
  if (existsSync(resolve(inFolder, "package.json"))) {
    if (options.template !== undefined) {
      throw new ConfigurationError(
        `${inFolder} already contains an app, which --template would replace. Leave out --template, or use another folder: npx sallyport init my-app`,
      );
    }
    const project = await readProject(inFolder, options.database);
    return planExistingApp(project, options.packageManager ?? packageManagerOf(inFolder));
  }
  const folder = argument === undefined && ask ? resolve(await ask.folder()) : inFolder;
  const choices = NAMES.map((value) => ({ value, hint: TEMPLATES[value].hint }));
  const template = options.template ?? (ask ? await ask.choose("Template", choices) : "minimal");
  return planNewApp(folder, template, options.packageManager ?? packageManagerOf(folder));
}

/** Returns what the user types or does next, in the folder where the command ran. */
function nextCommands(
  { folder, next }: Plan,
  manager: PackageManager,
  isInstalled: boolean,
): readonly string[] {
  const path = relative(process.cwd(), folder);
  return [
    ...(path === "" ? [] : [`cd ${/^[\w./-]+$/.test(path) ? path : JSON.stringify(path)}`]),
    ...(isInstalled ? [] : [`${manager} install`]),
    ...next,
  ];
}

const emptyText = ({ dryRun }: InitOptions) =>
  dryRun ? "Nothing was written." : "Sallyport is already set up here. Nothing was written.";
