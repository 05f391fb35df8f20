import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { ConnectionInfo } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { namesOf } from "./find-user.ts";
import { formatInstant } from "./instants.ts";
import type { Format, Report } from "./report.ts";
import { aligned, first, MAX_ROWS } from "./table.ts";
import { quoted } from "./terminal.ts";

/** A filter of open connections. */
export interface ConnectionFilter {
  /** The user id. */
  readonly user?: string | undefined;
  readonly channel?: string | undefined;
  readonly view?: string | undefined;
}

/** The maximum number of connections per query. */
const PAGE = 1000;

/**
 * Returns all connections that match.
 *
 * @throws ConfigurationError if none matches and the channel or view is not defined
 */
export async function findConnections(
  sallyport: Sallyport,
  { user, channel, view }: ConnectionFilter,
): Promise<readonly ConnectionInfo[]> {
  const found: ConnectionInfo[] = [];
  for await (const page of pages(sallyport, { user, channel, view })) found.push(...page);
  if (found.length === 0) await checkNames(sallyport, { channel, view });
  return found;
}

/** Returns an open connection. @throws ConfigurationError if none has this id */
export async function getConnection(sallyport: Sallyport, id: string): Promise<ConnectionInfo> {
  const [found] = await sallyport.listConnections({ connection: id });
  if (found) return found;
  throw new ConfigurationError(
    `There is no open connection ${quoted(id)}. Run connections list to see the open connections.`,
    { code: "SALLYPORT_UNKNOWN_NAME" },
  );
}

/** Formats a list of connections. The text form contains the first 50 of them. */
export async function connectionsReport(
  sallyport: Sallyport,
  { json }: Format,
  connections: readonly ConnectionInfo[],
): Promise<Report & { readonly json: readonly ConnectionInfo[] }> {
  const printed = json ? connections : connections.slice(0, MAX_ROWS);
  const names = await namesOf(
    sallyport,
    printed.map(({ user }) => user),
  );
  const rows = printed.map(({ connection, user, gateway, view, channels, connectedAt }) => [
    connection,
    names.name(user),
    view,
    channels.join(", ") || "in no channel",
    `since ${formatInstant(connectedAt)}`,
    gateway,
  ]);
  return {
    json: printed.map((connection) => ({ ...connection, label: names.label(connection.user) })),
    lines: first(aligned(rows), connections.length),
  };
}

async function* pages(
  sallyport: Sallyport,
  which: ConnectionFilter,
): AsyncGenerator<readonly ConnectionInfo[]> {
  for (let after: string | undefined; ; ) {
    const page = await sallyport.listConnections({ ...which, after, limit: PAGE });
    yield page;
    after = page.at(-1)?.connection;
    if (page.length < PAGE) return;
  }
}

async function checkNames(sallyport: Sallyport, { channel, view }: ConnectionFilter): Promise<void> {
  const { views, channels } = await sallyport.access.users.access(null);
  const paths = views.map(({ path }) => path);
  if (view !== undefined && !paths.includes(view))
    throw unknownName(
      `No view is mounted at ${quoted(view)}.${closestMatch(view, paths) || ` Use one of: ${paths.join(", ")}.`}`,
    );
  if (channel === undefined || isDefined(sallyport, channel)) return;
  const patterns = channels.map(({ pattern }) => pattern);
  throw unknownName(
    `No channel definition matches ${quoted(channel)}.${closestMatch(channel, patterns) || ` Use one of: ${patterns.join(", ") || "none, because the app defines no channel"}.`}`,
  );
}

function isDefined(sallyport: Sallyport, channel: string): boolean {
  try {
    sallyport.to({ channel });
    return true;
  } catch {
    return false;
  }
}

function unknownName(message: string): ConfigurationError {
  return new ConfigurationError(message, { code: "SALLYPORT_UNKNOWN_NAME" });
}
