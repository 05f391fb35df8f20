import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { ConnectionInfo } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { namesOf } from "./find-user.ts";
import { shownInstant } from "./instants.ts";
import type { Format, Report } from "./report.ts";
import { aligned, first, MAX_ROWS } from "./table.ts";
import { quoted } from "./terminal.ts";

/** Which open sockets. */
export interface Which {
  /** The app's own id. */
  readonly user?: string | undefined;
  readonly channel?: string | undefined;
  readonly view?: string | undefined;
}

/** Sessions read at once. */
const PAGE = 1000;

/** All of them. @throws ConfigurationError when none is open and the channel or view is not known either */
export async function findSessions(
  sallyport: Sallyport,
  { user, channel, view }: Which,
): Promise<readonly ConnectionInfo[]> {
  const found: ConnectionInfo[] = [];
  for await (const page of pages(sallyport, { user, channel, view })) found.push(...page);
  if (found.length === 0) await refuseUnknown(sallyport, { channel, view });
  return found;
}

/** @throws ConfigurationError when no session of that id is open */
export async function getSession(sallyport: Sallyport, id: string): Promise<ConnectionInfo> {
  const [found] = await sallyport.listConnections({ connection: id });
  if (found) return found;
  throw new ConfigurationError(
    `There is no open session ${quoted(id)}. sessions list shows those there are.`,
    { code: "SALLYPORT_UNKNOWN_NAME" },
  );
}

/** A list of sessions, the first of them for a person. */
export async function sessionsReport(
  sallyport: Sallyport,
  { json }: Format,
  connections: readonly ConnectionInfo[],
): Promise<Report & { readonly json: readonly ConnectionInfo[] }> {
  const told = json ? connections : connections.slice(0, MAX_ROWS);
  const names = await namesOf(
    sallyport,
    told.map(({ user }) => user),
  );
  const rows = told.map(({ connection, user, gateway, view, channels, connectedAt }) => [
    connection,
    names.name(user),
    view,
    channels.join(", ") || "in no channel",
    `since ${shownInstant(connectedAt)}`,
    gateway,
  ]);
  return {
    json: told.map((connection) => ({ ...connection, label: names.label(connection.user) })),
    lines: first(aligned(rows), connections.length),
  };
}

async function* pages(sallyport: Sallyport, which: Which): AsyncGenerator<readonly ConnectionInfo[]> {
  for (let after: string | undefined; ; ) {
    const page = await sallyport.listConnections({ ...which, after, limit: PAGE });
    yield page;
    after = page.at(-1)?.connection;
    if (page.length < PAGE) return;
  }
}

async function refuseUnknown(sallyport: Sallyport, { channel, view }: Which): Promise<void> {
  const { views, channels } = await sallyport.access.whatCan(null);
  const paths = views.map(({ path }) => path);
  if (view !== undefined && !paths.includes(view))
    throw unknown(`No view is mounted at ${quoted(view)}.${closestMatch(view, paths)}`);
  if (channel === undefined || isDefined(sallyport, channel)) return;
  const patterns = channels.map(({ pattern }) => pattern);
  throw unknown(
    `No channel definition matches ${quoted(channel)}.${closestMatch(channel, patterns) || ` There are: ${patterns.join(", ") || "none"}.`}`,
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

function unknown(message: string): ConfigurationError {
  return new ConfigurationError(message, { code: "SALLYPORT_UNKNOWN_NAME" });
}
