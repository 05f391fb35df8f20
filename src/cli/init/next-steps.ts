import { dirname, relative } from "node:path";
import { execCommand, type PackageManager, runCommand } from "./package-manager.ts";
import { type Project, sourceExtension } from "./project.ts";
import { authenticateLines, pageLines, serverLines } from "./server-code.ts";
import { importExtension, resolutionChange } from "./tsconfig.ts";

/** The page of Vite has another origin than the server. */
const VITE =
  'In vite.config, set server: { proxy: { "/api": "http://localhost:3000" } }. In .env, set ORIGIN to the URL of the page, such as http://localhost:5173.';

const indented = (lines: readonly string[]) => lines.map((line) => `    ${line}`);

/** Returns what remains to be done in an existing project. */
export function nextSteps(project: Project, manager: PackageManager): readonly string[] {
  const { framework, sources, typescript, packages } = project;
  const change = resolutionChange(typescript);
  return [
    ...(change ? [`Set ${change} in tsconfig.json, so that TypeScript finds "sallyport/client".`] : []),
    ...(rejectsModules(project)
      ? ["Update TypeScript to 5.8 or newer: older versions reject imports of ES modules in CommonJS."]
      : []),
    `Add these lines to ${framework === "next" ? "the configuration" : "your server"}:`,
    ...indented(serverLines(project, relativeImport(project))),
    `Return your signed-in user from "authenticate" in ${sources}sallyport/sallyport${sourceExtension(project)}, for example:`,
    ...indented(authenticateLines(project)),
    framework === "next"
      ? "Connect from a client component. Pass it process.env.SALLYPORT_URL of the server as url:"
      : "Connect from a page:",
    ...indented(pageLines(project)),
    ...(hasCommand(project)
      ? []
      : ['The server was not found. Correct the command after -- in the script "dev:sallyport".']),
    ...("vite" in packages ? [VITE] : []),
    ...runSteps(manager, "dev:sallyport"),
    "For production, and for more about your framework, read node_modules/sallyport/docs/guides/deployment.md and docs/reference/adapters.md.",
  ];
}

/** Returns the commands that run an app and give access to a user. */
export function runSteps(manager: PackageManager, script: string): readonly string[] {
  return [runCommand(manager, script), execCommand(manager, "sallyport users grant <user id> <permission>")];
}

/** TypeScript before 5.8 reports TS1479 for each import of an ES module in a CommonJS file. */
function rejectsModules({ language, framework, isServerModule, typescript }: Project): boolean {
  const { major, minor } = typescript;
  const isCommonJs = language === "typescript" && framework !== "next" && !isServerModule;
  return isCommonJs && major === 5 && minor !== undefined && minor < 8;
}

/** Returns whether the script `dev:sallyport` runs a script or a file that exists. */
function hasCommand({ framework, server, packageJson: { scripts = {} } }: Project): boolean {
  return framework === "next" || server !== undefined || Boolean(scripts.dev ?? scripts.start);
}

/** Returns the module specifier of the app in the server of the project. */
function relativeImport(project: Project): string {
  const { sources, server, language, typescript } = project;
  const extension = language === "typescript" ? importExtension(typescript) : sourceExtension(project);
  const path = `${sources}sallyport/sallyport${extension}`;
  if (server === undefined) return `./${path.slice(sources.length)}`;
  const specifier = relative(dirname(server), path).replaceAll("\\", "/");
  return specifier.startsWith(".") ? specifier : `./${specifier}`;
}
