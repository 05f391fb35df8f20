import type { Command } from "commander";
import { ConfigurationError } from "../errors.ts";
import type { LimitFilter, LimitsToClear, LimitWindow } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { rowCount } from "./arguments.ts";
import { actor, withReason } from "./change.ts";
import { findUser, type Names, namesOf } from "./find-user.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, MAX_ROWS } from "./table.ts";
import type { Terminal } from "./terminal.ts";

interface Which {
  readonly user?: string;
  readonly address?: string;
}

interface ClearFormat extends Format, Which {
  readonly all?: boolean;
  readonly reason?: string;
}

interface ListFormat extends Format, Which {
  readonly limit: number;
}

/** Adds `limits list` and `clear`. */
export function addLimits(program: Command, terminal: Terminal): void {
  const limits = program
    .command("limits")
    .description("List and clear the limits that are counted in the database");
  const listing = limits
    .command("list")
    .description("List the limits that counted something in the last minute, highest counts first")
    .option("--user <user>", "only windows of this user")
    .option("--address <ip>", "only windows of this address")
    .option("--limit <number>", "the maximum number of windows, at most 1000", rowCount, MAX_ROWS);
  const clearing = limits
    .command("clear")
    .description("Clear the windows of a user or an address, so that events are accepted again")
    .option("--user <user>", "the windows of this user")
    .option("--address <ip>", "the windows of this address")
    .option("--all", "all windows");
  reporting<ListFormat>(listing, terminal, list);
  reporting<ClearFormat>(withReason(clearing), terminal, clear);
}

async function list(sallyport: Sallyport, { user, address, limit }: ListFormat): Promise<Report> {
  const id = user === undefined ? undefined : await findUser(sallyport, user);
  const page = (filter: LimitFilter) => sallyport.access.limits.list({ user: id, address, ...filter });
  const windows = await page({ limit });
  const names = await namesOf(
    sallyport,
    windows.map((window) => window.user),
  );
  const json = windows.map((window) => ({ ...window, label: names.label(window.user) }));
  if (windows.length === 0) return { json, lines: ["No window of a limit is open."] };
  const [next] = await page({ after: windows.at(-1), limit: 1 });
  const lines = aligned(windows.map((window) => row(window, names)));
  return { json, lines: next ? [...lines, "There are more windows: --limit shows more."] : lines };
}

function row(window: LimitWindow, names: Names): readonly string[] {
  const { limit, user, address, gateway, view, count, max, secondsLeft } = window;
  return [
    limit,
    user === null ? (address ?? "") : names.name(user),
    gateway === null ? "" : `gateway ${gateway}`,
    view === null ? "" : `view ${view}`,
    max === false ? `${count}, no limit` : `${count} of ${max}`,
    `${secondsLeft} s left`,
  ];
}

async function clear(sallyport: Sallyport, { user, address, all, reason }: ClearFormat): Promise<Report> {
  if ([user, address, all].filter((value) => value !== undefined).length !== 1) {
    throw new ConfigurationError(
      "Name the windows to clear: exactly one of --user USER, --address IP and --all.",
    );
  }
  const cleared = await sallyport.access.limits.clear(await toClear(sallyport, { user, address }), {
    by: actor(),
    reason,
  });
  const lines = [cleared === 1 ? "Cleared 1 window." : `Cleared ${cleared} windows.`];
  return { json: { cleared }, lines };
}

async function toClear(
  sallyport: Sallyport,
  { user, address }: { readonly user: string | undefined; readonly address: string | undefined },
): Promise<LimitsToClear> {
  if (user !== undefined) return { user: await findUser(sallyport, user) };
  return address === undefined ? { all: true } : { address };
}
