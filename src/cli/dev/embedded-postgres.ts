import { createHash, randomUUID } from "node:crypto";
import { chmod, lstat, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigurationError } from "../../errors.ts";
import { projectFolder } from "../environment.ts";
import { oneLine } from "../terminal.ts";
import { canConnect } from "./listening.ts";
import { type Account, canEnter, changeOwner, serverAccount } from "./postgres-binaries.ts";
import { PostgresServer } from "./postgres-server.ts";

/** The URL that is used if DATABASE_URL is not set. */
export const DEFAULT_URL = "postgres://sallyport:sallyport@localhost:54329/sallyport";
const LOCAL_HOSTS = ["localhost", "127.0.0.1"];

/** A PostgreSQL server for development. */
export interface DevDatabase {
  /** The URL without user and password. */
  readonly url: string;
  /** Where the data is, or that the server was already running. */
  readonly note: string;
  stop(): Promise<void>;
}

/** The parts of a DATABASE_URL that a server is started from. */
interface Target {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/**
 * Starts a PostgreSQL server at `DATABASE_URL`, with the user, password and database of that URL.
 * If `DATABASE_URL` is not set, sets it to {@link DEFAULT_URL}. If a server already listens there,
 * it is used and not stopped.
 *
 * @throws ConfigurationError if the URL names another machine, or if the server does not start
 */
export async function startEmbeddedPostgres(): Promise<DevDatabase> {
  process.env.DATABASE_URL ||= DEFAULT_URL;
  const target = targetOf(process.env.DATABASE_URL);
  const url = `postgres://localhost:${target.port}/${target.database}`;
  if (await canConnect(target.port)) {
    await checkSignIn(target);
    return { url, note: "was already running", stop: async () => undefined };
  }
  let server: PostgresServer | undefined;
  let folder = "";
  try {
    const account = serverAccount();
    folder = await dataFolder(account);
    server = new PostgresServer({ folder, account, ...target });
    await server.initialize();
    await server.start();
    await createDatabase(target);
    const started = server;
    return { url, note: `data in ${folder}`, stop: () => started.stop() };
  } catch (cause) {
    await server?.stop();
    throw new ConfigurationError(
      `PostgreSQL did not start: ${oneLine(cause).replace(/\.$/, "")}. ` +
        `To begin with an empty database, delete ${folder === "" ? "the folder .sallyport" : folder}. ` +
        "To use a server of your own, leave out --embedded-postgres.",
      { cause },
    );
  }
}

/** @throws ConfigurationError if the URL cannot be that of a server on this machine */
export function targetOf(text: string): Target {
  const wrong = (what: string) =>
    new ConfigurationError(
      `--embedded-postgres cannot start a server for DATABASE_URL, because ${what}. Use a URL such as ${DEFAULT_URL}, or leave out --embedded-postgres.`,
    );
  if (!URL.canParse(text)) throw wrong("it is not a URL");
  const { protocol, hostname, port, username, password, pathname } = new URL(text);
  if (protocol !== "postgres:" && protocol !== "postgresql:")
    throw wrong(`its protocol is "${protocol}" instead of "postgres:"`);
  if (!LOCAL_HOSTS.includes(hostname)) throw wrong(`its host "${hostname}" is not localhost`);
  const [user = "", secret = "", database = ""] = [username, password, pathname.slice(1)].map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw wrong(`"${part}" is not encoded as in a URL`);
    }
  });
  if (user === "" || secret === "") throw wrong("it has no user or no password");
  if (/[\r\n\0]/.test(secret)) throw wrong("its password contains a line break");
  if (/^pg_/.test(user)) throw wrong(`its user "${user}" begins with pg_, which PostgreSQL reserves`);
  return { port: Number(port || 5432), user, password: secret, database: database || user };
}

/**
 * Returns the folder of the server, and creates it. It is `.sallyport/postgres` in the project. An
 * account that cannot enter the project, such as that of root's server in a folder of root, uses a
 * folder in /var/tmp.
 *
 * @throws Error if another account owns the folder in /var/tmp
 */
async function dataFolder(account: Account): Promise<string> {
  const project = projectFolder();
  const parent = join(project, ".sallyport");
  await mkdir(parent, { recursive: true });
  await writeFile(join(parent, ".gitignore"), "*\n");
  const inside = join(parent, "postgres");
  await mkdir(inside, { recursive: true, mode: 0o700 });
  await changeOwner(inside, account);
  if (!account || canEnter(inside, account)) return inside;
  const name = await idOf(parent);
  const outside = join("/var/tmp", `sallyport-postgres-${name}`);
  await mkdir(outside, { mode: 0o700 }).then(
    () => changeOwner(outside, account),
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    },
  );
  const { uid } = await lstat(outside);
  if (uid !== account.uid) throw new Error(`Another account owns ${outside}. Remove this folder.`);
  await chmod(outside, 0o700);
  return outside;
}

/** Returns the id of a project, which is new if the project was deleted and created again. */
async function idOf(folder: string): Promise<string> {
  const file = join(folder, "id");
  await writeFile(file, randomUUID(), { flag: "wx" }).catch(() => undefined);
  const id = await readFile(file, "utf8");
  return createHash("sha256").update(id).digest("hex").slice(0, 12);
}

/** @throws ConfigurationError if the server on the port is not that of DATABASE_URL */
async function checkSignIn({ port, user, password, database }: Target): Promise<void> {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ host: "127.0.0.1", port, user, password, database });
  client.on("error", () => undefined);
  try {
    await client.connect();
  } catch (cause) {
    throw new ConfigurationError(
      `A server already listens on port ${port}, but DATABASE_URL cannot be opened there: ${oneLine(cause)}. Use another port in DATABASE_URL, or stop that server.`,
      { cause },
    );
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Creates the database of the URL, unless it exists. */
async function createDatabase({ port, user, password, database }: Target): Promise<void> {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ host: "127.0.0.1", port, user, password, database: "postgres" });
  await client.connect();
  try {
    const { rowCount } = await client.query("select from pg_database where datname = $1", [database]);
    if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(database)}`);
  } finally {
    await client.end();
  }
}
