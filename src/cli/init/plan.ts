import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConfigurationError } from "../../errors.ts";

/** A file that `init` creates or adds lines to. */
export interface FileChange {
  /** Path in the folder of the app. */
  readonly path: string;
  readonly text: string;
  /** The lines that are added to an existing file, or undefined for a new file. */
  readonly added: readonly string[] | undefined;
}

/** What `init` writes, before it writes it. */
export interface Plan {
  readonly folder: string;
  readonly changes: readonly FileChange[];
  /** Whether the lines of new files are printed. A new app has too many of them. */
  readonly printsNewFiles: boolean;
  /** Files that exist already and stay as they are. */
  readonly kept: readonly string[];
  /** What the user does afterwards, one step per entry. Lines of code are indented. */
  readonly next: readonly string[];
}

/** Returns the lines that show a plan, as a diff does. */
export function planLines({ changes, kept, printsNewFiles }: Plan): readonly string[] {
  return [
    ...changes.flatMap(({ path, text, added }) => {
      if (added !== undefined) return [`~ ${path}`, ...addedLines(added)];
      const lines = text.trimEnd().split("\n");
      return printsNewFiles ? [`+ ${path}`, ...addedLines(lines)] : [`+ ${path}  ${lines.length} lines`];
    }),
    ...kept.map((path) => `  ${path}  exists, and is not changed`),
  ];
}

const addedLines = (lines: readonly string[]) => lines.map((line) => `    + ${line}`.trimEnd());

/**
 * Writes the files of a plan. A new file never replaces another one.
 *
 * @throws ConfigurationError if a file that should be new was created meanwhile
 */
export async function writePlan({ folder, changes }: Plan): Promise<void> {
  for (const { path, text, added } of changes) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text, {
      flag: added === undefined ? "wx" : "w",
      // Secrets are readable by their owner only.
      ...(path === ".env" && added === undefined ? { mode: 0o600 } : {}),
    }).catch((cause: NodeJS.ErrnoException) => {
      throw new ConfigurationError(
        `${file} cannot be written: ${cause.message}. ${cause.code === "EEXIST" ? "Run the command again." : "Correct the problem, and run the command again."}`,
        { cause },
      );
    });
  }
}

/** Separates the files that do not exist yet from those that stay as they are. */
export function newFiles(folder: string, files: ReadonlyMap<string, string>): Pick<Plan, "changes" | "kept"> {
  const isNew = (path: string) => !existsSync(join(folder, path));
  return {
    changes: [...files]
      .filter(([path]) => isNew(path))
      .map(([path, text]) => ({ path, text, added: undefined })),
    kept: [...files.keys()].filter((path) => !isNew(path)),
  };
}
