import { type Command, InvalidArgumentError } from "commander";
import type { CleanupOptions, CleanupResult } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import { type Format, print, withJson } from "./report.ts";
import { StopSignal } from "./stop-signal.ts";
import { oneLine, type Terminal } from "./terminal.ts";

const SECOND_MS = 1000;
const HOUR_MS = 3600 * SECOND_MS;
const DAY_MS = 24 * HOUR_MS;
const UNITS: Readonly<Record<string, number>> = {
  s: SECOND_MS,
  m: 60 * SECOND_MS,
  h: HOUR_MS,
  d: DAY_MS,
  w: 7 * DAY_MS,
};

interface CleanupCommand extends Format {
  readonly every?: number;
  readonly connections?: number;
  readonly audit?: number;
}

/** Adds `cleanup`, which runs once or, with `--every`, as a service. */
export function addCleanup(program: Command, terminal: Terminal): void {
  const command = program
    .command("cleanup")
    .description("Remove old rows: connections, tokens, limits, decisions")
    .option(
      "--every <time>",
      "repeat at this interval, such as 5m, until a signal ends the command",
      durationParser(SECOND_MS, "1s", 7 * DAY_MS),
    )
    .option(
      "--connections <time>",
      "keep rows of connections for this time (default 1d)",
      durationParser(3 * HOUR_MS, "3h"),
    )
    .option(
      "--audit <time>",
      "keep the audit log for this time (default: unlimited)",
      durationParser(30 * DAY_MS, "30d"),
    );
  withJson(command).action(() =>
    withApp(terminal.app(), (sallyport) => clean(sallyport, terminal, command.opts<CleanupCommand>())),
  );
}

async function clean(sallyport: Sallyport, terminal: Terminal, options: CleanupCommand): Promise<void> {
  const { every, connections, audit } = options;
  const keep: CleanupOptions = {
    ...(connections === undefined ? {} : { keepConnectionHours: connections / HOUR_MS }),
    ...(audit === undefined ? {} : { keepAuditDays: audit / DAY_MS }),
  };
  if (every === undefined) {
    const done = await sallyport.cleanup(keep);
    print(terminal, options, { json: done, lines: [removedRows(done) ?? "Nothing to remove."] });
    return;
  }
  const ending = new StopSignal();
  for (;;) {
    try {
      const done = await sallyport.cleanup(keep);
      const line = removedRows(done);
      if (line !== undefined) print(terminal, options, { json: done, lines: [line] });
    } catch (error) {
      // The database can be available again at the next interval.
      terminal.complain(`sallyport: ${oneLine(error)}`);
    }
    if (await ending.within(every)) return;
  }
}

/**
 * Returns a sentence with the number of rows that were removed, or undefined if there were none.
 */
function removedRows({
  connections,
  tokens,
  endedSessions,
  counters,
  decisions,
  audit,
}: CleanupResult): string | undefined {
  const parts = [
    counted(connections, "connection", "connections"),
    counted(tokens, "token", "tokens"),
    counted(endedSessions, "ended session", "ended sessions"),
    counted(counters, "window of a limit", "windows of limits"),
    counted(decisions, "decision", "decisions"),
    counted(audit, "entry of the audit log", "entries of the audit log"),
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? undefined : `Removed ${parts.join(", ")}.`;
}

function counted(count: number, one: string, many: string): string | undefined {
  if (count === 0) return undefined;
  return `${count} ${count === 1 ? one : many}`;
}

/**
 * Returns a parser of durations such as `30s`, `5m`, `3h`, `1d` or `4w`, which returns
 * milliseconds.
 *
 * @param min the minimum as text, for messages
 */
function durationParser(
  minMs: number,
  min: string,
  maxMs = Number.POSITIVE_INFINITY,
): (text: string) => number {
  return (text) => {
    const [, count, unit] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
    const ms = Number(count) * (UNITS[unit ?? ""] ?? Number.NaN);
    if (ms >= minMs && ms <= maxMs) return ms;
    const max = maxMs === Number.POSITIVE_INFINITY ? "" : ` and at most ${maxMs / DAY_MS}d`;
    throw new InvalidArgumentError(`Write a time such as 30s, 5m, 3h or 1d, at least ${min}${max}.`);
  };
}
