import type { Command } from "commander";
import { ConfigurationError } from "../errors.ts";
import type { Audience, DeliveryReport } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { actor, type ChangeFormat, withChangeOptions } from "./change.ts";
import { findUser } from "./find-user.ts";
import { findSessions, getSession, sessionsReport, type Which } from "./open-connections.ts";
import { type Format, type Report, reporting } from "./report.ts";
import type { Terminal } from "./terminal.ts";

/** `sessions list | close`. */
export function addSessions(program: Command, terminal: Terminal): void {
  const connections = program.command("sessions").description("Open sockets: whose they are, and where");
  const listing = connections
    .command("list")
    .description("List open sockets")
    .option("--user <user>", "only of this user")
    .option("--channel <name>", "only those in this channel")
    .option("--view <path>", "only those at this view");
  const closing = connections
    .command("close")
    .description("Close one socket, or all of a user or in a channel; no right is taken away")
    .argument("[session]", "as sessions list shows it")
    .option("--user <user>", "all of this user")
    .option("--channel <name>", "all in this channel");
  reporting<Format & Which>(listing, terminal, list);
  reporting<ChangeFormat & Which>(withChangeOptions(closing), terminal, close);
}

async function list(sallyport: Sallyport, options: Format & Which): Promise<Report> {
  const open = await findSessions(sallyport, await withId(sallyport, options));
  const { json, lines } = await sessionsReport(sallyport, options, open);
  return { json, lines: open.length > 0 ? lines : ["No such socket is open."] };
}

async function close(
  sallyport: Sallyport,
  options: ChangeFormat & Which,
  [connection]: readonly string[],
): Promise<Report> {
  const { dryRun = false, reason } = options;
  if ([connection, options.user, options.channel].filter((named) => named !== undefined).length !== 1) {
    throw new ConfigurationError("Name what to close: one of SESSION, --user USER and --channel NAME.");
  }
  const which = await withId(sallyport, options);
  const open =
    connection === undefined
      ? await findSessions(sallyport, which)
      : [await getSession(sallyport, connection)];
  const { json, lines } = await sessionsReport(sallyport, options, open);
  const told = { dryRun, connections: json };
  if (open.length === 0) return { json: told, lines: ["No such socket is open."] };
  if (dryRun) return { json: told, lines: ["Dry run, nothing has changed. These would close:", ...lines] };
  const report = await sallyport.to(audienceOf(which, connection)).close({ by: actor(), reason });
  return { json: { ...told, report }, lines: [...closed(report), ...lines] };
}

/** A gateway that is out of reach keeps nothing going: sessions end before their sockets do. */
function closed({ recipients, failed, failures }: DeliveryReport): readonly string[] {
  const done = recipients === 1 ? "Closed 1 socket:" : `Closed ${recipients} sockets:`;
  if (failed === 0) return [done];
  const why = Object.keys(failures).join(", ");
  return [`${failed} could not be told (${why}); their sessions have ended even so.`, done];
}

/** The same with the app's id for the user. */
async function withId(sallyport: Sallyport, { user, channel, view }: Which): Promise<Which> {
  return { user: user === undefined ? undefined : await findUser(sallyport, user), channel, view };
}

function audienceOf({ user, channel }: Which, connection = ""): Audience {
  if (user !== undefined) return { user };
  return channel === undefined ? { connection } : { channel };
}
