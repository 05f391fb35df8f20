import { userInfo } from "node:os";
import type { Command } from "commander";
import type { AccessChange, EndedAccess } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { unknownUserLines } from "./find-user.ts";
import { parseFutureInstant } from "./instants.ts";
import { formatDryRun, OTHER_APPS } from "./preview.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { quoted, type Terminal } from "./terminal.ts";

/** The change that a command makes, and its messages. */
export interface ChangeCommand {
  readonly change: AccessChange;
  /** Printed after the change. */
  readonly done: string;
  /** Printed if the requested state already exists. */
  readonly already: string;
  /** Returns more lines, which are printed after the message. */
  readonly notes?: () => Promise<readonly string[]>;
}

/** Options of a command that changes something. */
export interface ChangeFormat extends Format {
  readonly reason?: string;
  readonly dryRun?: boolean;
}

/** Options of a command that grants something. */
export interface GrantFormat extends ChangeFormat {
  readonly until?: number;
}

/** Makes a command change access. With `--dry-run`, it prints the effects of the change instead. */
export function changing<Options extends ChangeFormat>(
  command: Command,
  terminal: Terminal,
  resolve: (sallyport: Sallyport, args: readonly string[], options: Options) => Promise<ChangeCommand>,
): void {
  reporting<Options>(withChangeOptions(command), terminal, async (sallyport, options, args) => {
    const resolved = await resolve(sallyport, args, options);
    const user = userOf(resolved.change);
    const unknown =
      user === undefined
        ? []
        : await unknownUserLines(sallyport, user, `User ${quoted(user)} is new: no data was stored before.`);
    if (!options.dryRun) return applyChange(sallyport, resolved, options.reason, unknown);
    const report = await formatDryRun(sallyport, resolved, { by: actor(), reason: options.reason });
    return {
      json: { ...(report.json as object), notes: unknown },
      lines: [...report.lines, ...unknown],
    };
  });
}

/** Does the same for a command that grants something, with the option `--until`. */
export function granting(
  command: Command,
  terminal: Terminal,
  resolve: (sallyport: Sallyport, args: readonly string[], options: GrantFormat) => Promise<ChangeCommand>,
): void {
  command.option(
    "--until <end>",
    "the time at which it ends: 30m, 2h, 7d, 4w, or a date (UTC)",
    parseFutureInstant,
  );
  changing(command, terminal, resolve);
}

/** Returns the end of a grant as a field of its change, or no field without `--until`. */
export function ending(until: number | undefined): { readonly until?: number } {
  return until === undefined ? {} : { until };
}

/** Adds `--reason`. */
export function withReason(command: Command): Command {
  return command.option("--reason <text>", "the reason, which the audit log stores");
}

/** Adds `--reason` and `--dry-run`. */
export function withChangeOptions(command: Command): Command {
  return withReason(command).option("--dry-run", "show the effects, and change nothing");
}

/** Returns the author of a change that is made from a terminal, such as `cli:maria`. */
export function actor(): string {
  try {
    return `cli:${userInfo().username}`;
  } catch {
    // In a container, a process can run with a user id that has no name.
    return `cli:${process.getuid?.() ?? "unknown"}`;
  }
}

/** Returns the user that a change affects, or undefined if it affects another object. */
function userOf(change: AccessChange): string | undefined {
  if ("user" in change) return change.user;
  return "holder" in change && typeof change.holder === "string" ? change.holder : undefined;
}

async function applyChange(
  sallyport: Sallyport,
  resolved: ChangeCommand,
  reason: string | undefined,
  unknown: readonly string[],
): Promise<Report> {
  const { change, done, already } = resolved;
  const by = actor();
  const result = await sallyport.access.change(change, { by, reason });
  const { changed, number = null, pruned, ended } = result;
  const message = changed ? done : already;
  const notes = [...((await resolved.notes?.()) ?? []), ...unknown];
  return {
    json: { changed, number, pruned, ended: ended ?? null, message, notes },
    lines: [message, ...(ended ? endedLines(ended) : []), ...notes],
  };
}

function counted(count: number, noun: string): string {
  return count === 1 ? `1 ${noun} was` : `${count} ${noun}s were`;
}

/** Returns how many connections were closed, and how many channels other connections left. */
function endedLines(ended: EndedAccess): readonly string[] {
  const { closedConnections, leftChannels, uncheckedConnections, isComplete } = ended;
  const ends = [
    ...(closedConnections === 0 ? [] : [`${counted(closedConnections, "open connection")} closed`]),
    ...(leftChannels === 0 ? [] : [`${counted(leftChannels, "channel")} left`]),
  ];
  const hasNone = ends.length === 0 && uncheckedConnections === 0;
  const effects = hasNone
    ? "No open connection was affected."
    : `${ends.join(", ") || "No connection was closed"}.`;
  const isKnown = isComplete || closedConnections + leftChannels > 0;
  return [
    ...(isKnown ? [effects] : []),
    ...(isComplete
      ? []
      : ["This command did not check all open connections. A serving process checks the others."]),
    ...(uncheckedConnections > 0 ? [OTHER_APPS] : []),
  ];
}
