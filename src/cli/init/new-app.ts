import { existsSync, readdirSync } from "node:fs";
import { basename } from "node:path";
import { applyEdits, modify } from "jsonc-parser";
import { ConfigurationError } from "../../errors.ts";
import { newSecret, portOf } from "./database-url.ts";
import { type PackageManager, runCommand } from "./package-manager.ts";
import { newFiles, type Plan } from "./plan.ts";
import { TEMPLATES, type TemplateName, templateFiles } from "./templates.ts";
import { ownVersion } from "./versions.ts";

/**
 * Returns the plan of a new app.
 *
 * @throws ConfigurationError if the folder already contains a file of the template
 */
export async function planNewApp(folder: string, name: TemplateName, manager: PackageManager): Promise<Plan> {
  const code = existsSync(folder) ? readdirSync(folder).filter((file) => /\.[cm]?[jt]sx?$/.test(file)) : [];
  if (code.length > 0) {
    throw new ConfigurationError(
      `${folder} contains ${code.slice(0, 3).join(", ")}, but no package.json. Run "${manager} init" first to add Sallyport to this app, or use an empty folder.`,
    );
  }
  const files = new Map(await templateFiles(TEMPLATES[name].folders));
  for (const [path, text] of files) files.set(path, filledIn(path, text, folder));
  const { changes, kept } = newFiles(folder, files);
  if (kept.length > 0) {
    throw new ConfigurationError(
      `${folder} already contains ${kept.join(", ")}. Use an empty folder: npx sallyport init my-app`,
    );
  }
  return { folder, changes, printsNewFiles: false, kept, next: [runCommand(manager, "dev")] };
}

/** Returns the text of a file with the name of the app, the version of this package, a port and new secrets. */
function filledIn(path: string, text: string, folder: string): string {
  if (path === "package.json") {
    const named = applyEdits(text, modify(text, ["name"], packageName(folder), {}));
    return applyEdits(named, modify(named, ["dependencies", "sallyport"], ownVersion(), {}));
  }
  if (path === "README.md") return text.replace(/^# App$/m, () => `# ${basename(folder)}`);
  return text.replaceAll("__SECRET__", newSecret).replaceAll("__PORT__", String(portOf(folder)));
}

/** Returns a name for a package in a folder. npm allows lower-case letters, digits and `-._`. */
export function packageName(folder: string): string {
  const name = basename(folder)
    .toLowerCase()
    .replaceAll(/[^a-z0-9-._]+/g, "-")
    .replace(/^[-._]+/, "")
    .slice(0, 100);
  return name === "" ? "app" : name;
}
