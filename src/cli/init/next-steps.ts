import { type PackageManager, runCommand } from "./package-manager.ts";
import { type Project, serverFile, sourceExtension } from "./project.ts";
import { authenticateLines, pageLines, serverLines } from "./server-code.ts";
import { importExtension, resolutionChange } from "./tsconfig.ts";

const indented = (lines: readonly string[]) => lines.map((line) => `    ${line}`);

/** Returns what remains to be done in an existing project. */
export function nextSteps(project: Project, manager: PackageManager): readonly string[] {
  const { framework, sources, typescript } = project;
  const change = resolutionChange(typescript);
  return [
    ...(change ? [`Set ${change} in tsconfig.json, so that TypeScript finds "sallyport/client".`] : []),
    `Add these lines to ${framework === "next" ? "the configuration" : "your server"}:`,
    ...indented(serverLines(project, relativeImport(project))),
    `Return your signed-in user from "authenticate" in ${sources}sallyport/sallyport${sourceExtension(project)}, for example:`,
    ...indented(authenticateLines(project)),
    framework === "next"
      ? "Connect from a client component. Pass it process.env.SALLYPORT_URL of the server as url:"
      : "Connect from a page:",
    ...indented(pageLines(project)),
    runCommand(manager, "dev:sallyport"),
    "npx sallyport users grant <user id> chat.use",
  ];
}

/** Returns the module specifier of the app in the server of the project. */
function relativeImport(project: Project): string {
  const { sources, language, typescript } = project;
  const extension = language === "typescript" ? importExtension(typescript) : sourceExtension(project);
  const server = serverFile(project);
  const folder = server === undefined || server.startsWith(sources) ? "" : sources;
  return `./${folder}sallyport/sallyport${extension}`;
}
