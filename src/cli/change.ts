import { userInfo } from "node:os";
import type { Command } from "commander";
import type { AccessChange } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { comingInstant } from "./instants.ts";
import { formatDryRun } from "./preview.ts";
import { type Format, type Report, reporting } from "./report.ts";
import type { Terminal } from "./terminal.ts";

/** A change as a command means it, and how it is told. */
export interface ChangeCommand {
  readonly change: AccessChange;
  /** Said when it has been made. */
  readonly done: string;
  /** Said when everything was so already. */
  readonly already: string;
  /** What else there is to know then. */
  readonly notes?: () => Promise<readonly string[]>;
}

/** Options of a command that changes something. */
export interface ChangeFormat extends Format {
  readonly reason?: string;
  readonly dryRun?: boolean;
}

/** Options of a command that gives something. */
export interface GrantFormat extends ChangeFormat {
  readonly until?: number;
}

/** Makes a command change rights, or with `--dry-run` tell what would follow from that very change. */
export function changing<Options extends ChangeFormat>(
  command: Command,
  terminal: Terminal,
  mean: (sallyport: Sallyport, args: readonly string[], options: Options) => Promise<ChangeCommand>,
): void {
  reporting<Options>(withChangeOptions(command), terminal, async (sallyport, options, args) => {
    const meant = await mean(sallyport, args, options);
    if (options.dryRun) return formatDryRun(sallyport, meant, { by: actor(), reason: options.reason });
    return make(sallyport, meant, options.reason);
  });
}

/** The same for what is given, perhaps `--until`. */
export function granting(
  command: Command,
  terminal: Terminal,
  mean: (sallyport: Sallyport, args: readonly string[], options: GrantFormat) => Promise<ChangeCommand>,
): void {
  command.option("--until <end>", "when it ends by itself: 30m, 2h, 7d, 4w, or a date (UTC)", comingInstant);
  changing(command, terminal, mean);
}

/** The end of a grant as a field of its change: left out without `--until`. */
export function ending(until: number | undefined): { readonly until?: number } {
  return until === undefined ? {} : { until };
}

/** Adds `--reason`. */
export function withReason(command: Command): Command {
  return command.option("--reason <text>", "why, for the record");
}

/** Adds `--reason` and `--dry-run`. */
export function withChangeOptions(command: Command): Command {
  return withReason(command).option("--dry-run", "tell what would follow, and change nothing");
}

/** Who is to be remembered for a change made from a terminal. */
export function actor(): string {
  try {
    return `cli:${userInfo().username}`;
  } catch {
    // In a container a process may run as a number that has no name.
    return `cli:${process.getuid?.() ?? "unknown"}`;
  }
}

async function make(sallyport: Sallyport, meant: ChangeCommand, reason: string | undefined): Promise<Report> {
  const { change, done, already } = meant;
  const by = actor();
  const { changed, number = null, pruned } = await sallyport.access.change(change, { by, reason });
  const message = changed ? done : already;
  const notes = (await meant.notes?.()) ?? [];
  return { json: { changed, number, pruned, message, notes }, lines: [message, ...notes] };
}
