import type { Command } from "commander";
import { ConfigurationError } from "../errors.ts";
import type { Audience, DeliveryReport } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { actor, type ChangeFormat, withChangeOptions } from "./change.ts";
import { findUser } from "./find-user.ts";
import {
  type ConnectionFilter,
  connectionsReport,
  findConnections,
  getConnection,
} from "./open-connections.ts";
import { type Format, type Report, reporting } from "./report.ts";
import type { Terminal } from "./terminal.ts";

/** Adds `connections list` and `connections close`. */
export function addConnections(program: Command, terminal: Terminal): void {
  const connections = program.command("connections").description("List and close open connections");
  const listing = connections
    .command("list")
    .description("List open connections")
    .option("--user <user>", "only those of this user")
    .option("--channel <name>", "only those in this channel")
    .option("--view <path>", "only those of this view");
  const closing = connections
    .command("close")
    .description("Close one connection, or all of a user or in a channel, without revoking a permission")
    .argument("[connection]", "the id that connections list prints")
    .option("--user <user>", "all connections of this user")
    .option("--channel <name>", "all connections in this channel");
  reporting<Format & ConnectionFilter>(listing, terminal, list);
  reporting<ChangeFormat & ConnectionFilter>(withChangeOptions(closing), terminal, close);
}

async function list(sallyport: Sallyport, options: Format & ConnectionFilter): Promise<Report> {
  const open = await findConnections(sallyport, await withId(sallyport, options));
  const { json, lines } = await connectionsReport(sallyport, options, open);
  const { user, channel, view } = options;
  const isFiltered = [user, channel, view].some((value) => value !== undefined);
  const none = isFiltered ? "No such connection is open." : "No connection is open.";
  return { json, lines: open.length > 0 ? lines : [none] };
}

async function close(
  sallyport: Sallyport,
  options: ChangeFormat & ConnectionFilter,
  [connection]: readonly string[],
): Promise<Report> {
  const { dryRun = false, reason } = options;
  if ([connection, options.user, options.channel].filter((value) => value !== undefined).length !== 1) {
    throw new ConfigurationError(
      "Name what to close: exactly one of CONNECTION, --user USER and --channel NAME.",
    );
  }
  const which = await withId(sallyport, options);
  const open =
    connection === undefined
      ? await findConnections(sallyport, which)
      : [await getConnection(sallyport, connection)];
  const { json, lines } = await connectionsReport(sallyport, options, open);
  const document = { dryRun, connections: json };
  if (open.length === 0) return { json: document, lines: ["No such connection is open."] };
  if (dryRun) {
    return { json: document, lines: ["Dry run, nothing has changed. These would close:", ...lines] };
  }
  const report = await sallyport.to(audienceOf(which, connection)).close({ by: actor(), reason });
  return { json: { ...document, report }, lines: [...closedLines(report), ...lines] };
}

/**
 * The rows are closed before the WebSockets, so access ends even if a gateway cannot be reached.
 */
function closedLines({ recipients, failed, failures }: DeliveryReport): readonly string[] {
  const done = recipients === 1 ? "Closed 1 connection:" : `Closed ${recipients} connections:`;
  if (failed === 0) return [done];
  const reasons = Object.keys(failures).join(", ");
  return [`${failed} could not be notified (${reasons}). Their access has ended even so.`, done];
}

/** Replaces the typed name of the user with the user id. */
async function withId(
  sallyport: Sallyport,
  { user, channel, view }: ConnectionFilter,
): Promise<ConnectionFilter> {
  return { user: user === undefined ? undefined : await findUser(sallyport, user), channel, view };
}

function audienceOf({ user, channel }: ConnectionFilter, connection = ""): Audience {
  if (user !== undefined) return { user };
  return channel === undefined ? { connection } : { channel };
}
