import { closeSync, existsSync, mkdirSync, openSync, readlinkSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { StorageError } from "../errors.ts";

/**
 * Creates the file of a SQLite database and its folder if they are missing. The modes are 0600 and
 * 0700.
 *
 * The modes are set at creation, so that other users can never read the file. SQLite gives `-wal`
 * and `-shm` the mode of the file. Existing files and folders keep their modes.
 *
 * @param source the argument of `sqlite()`: a path, `":memory:"` or a `file:` URI
 * @throws StorageError if the file cannot be created
 */
export function createPrivateFile(source: string): void {
  const path = fileOf(source);
  if (path === undefined) return;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    createAt(path);
  } catch (cause) {
    throw new StorageError(
      `Cannot create the SQLite database ${source}: ${(cause as Error).message}. Check the path and its permissions.`,
      { cause },
    );
  }
}

/** Returns whether the file of a SQLite database does not exist yet. */
export function isMissingFile(source: string): boolean {
  const path = fileOf(source);
  return path !== undefined && !existsSync(path);
}

/** The maximum number of symbolic links to follow. Source: Linux, path_resolution(7). */
const MAX_LINKS = 40;

function createAt(path: string, links = 0): void {
  try {
    // Closing a file ends all locks of this process on it. Synchronous calls prevent a connection
    // in between.
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    // SQLite would create the target of a dangling symbolic link, so it is created here.
    if (!existsSync(path) && links < MAX_LINKS)
      createAt(resolve(dirname(path), readlinkSync(path)), links + 1);
  }
}

/**
 * Returns the path of the file that SQLite can create, or undefined if it creates none.
 *
 * Source: SQLite, "Uniform Resource Identifiers".
 */
function fileOf(source: string): string | undefined {
  if (source === ":memory:") return undefined;
  const [uri, path = "", query = ""] = /^file:(?:\/\/[^/?#]*)?([^?#]*)(?:\?([^#]*))?/.exec(source) ?? [];
  if (uri === undefined) return source;
  const mode = new URLSearchParams(query).get("mode");
  if (path === "" || path === ":memory:" || (mode !== null && mode !== "rwc")) return undefined;
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new StorageError(
      `Cannot open the SQLite database ${source}: its percent-encoding is not valid UTF-8. Write sqlite("data/app.db").`,
      { cause },
    );
  }
}
