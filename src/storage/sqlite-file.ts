import { closeSync, existsSync, mkdirSync, openSync, readlinkSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { StorageError } from "../errors.ts";

/**
 * Creates the file of a SQLite database and its folder if they are missing, for the owner only: 0600 and 0700.
 *
 * The modes are those of the creation, so that no other user can ever read the file. SQLite gives `-wal` and `-shm` the mode of the
 * file. A file or folder that exists keeps its mode.
 *
 * @param source what `sqlite()` received: a path, `":memory:"` or a `file:` URI
 * @throws StorageError if the file cannot be created
 */
export function createPrivateFile(source: string): void {
  const path = fileOf(source);
  if (path === undefined) return;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    createAt(path);
  } catch (cause) {
    throw new StorageError(`Cannot create the SQLite database ${source}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Most symbolic links that lead to a file. Source: Linux, path_resolution(7). */
const MAX_LINKS = 40;

function createAt(path: string, links = 0): void {
  try {
    // Synchronous, because closing a file ends all locks that this process has on it: no connection may open it meanwhile.
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    // SQLite would create the file that a symbolic link names.
    if (!existsSync(path) && links < MAX_LINKS)
      createAt(resolve(dirname(path), readlinkSync(path)), links + 1);
  }
}

/**
 * Returns the path of the file that SQLite may create, or undefined if it creates none.
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
