import type { Command } from "commander";
import { ConfigurationError } from "../errors.ts";
import type { LimitsToClear, LimitWindow } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { actor, withReason } from "./change.ts";
import { findUser, type Names, namesOf } from "./people.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, first, MAX_ROWS } from "./table.ts";
import type { Terminal } from "./terminal.ts";

interface Which {
  readonly user?: string;
  readonly address?: string;
}

interface ClearFormat extends Format, Which {
  readonly all?: boolean;
  readonly reason?: string;
}

/** Windows read at once. */
const PAGE = 1000;

/** `limits list | clear`. */
export function addLimits(program: Command, terminal: Terminal): void {
  const limits = program.command("limits").description("Limits that are counted in the database");
  const listing = limits
    .command("list")
    .description("List the open windows of limits, those with the highest counts first")
    .option("--user <user>", "only of this user")
    .option("--address <ip>", "only of this address");
  const clearing = limits
    .command("clear")
    .description("Clear the windows of a user or of an address, so that events are accepted again")
    .option("--user <user>", "the windows of this user")
    .option("--address <ip>", "the windows of this address")
    .option("--all", "all windows");
  reporting<Format & Which>(listing, terminal, list);
  reporting<ClearFormat>(withReason(clearing), terminal, clear);
}

async function list(sallyport: Sallyport, options: Format & Which): Promise<Report> {
  const windows: LimitWindow[] = [];
  const user = options.user === undefined ? undefined : await findUser(sallyport, options.user);
  for (;;) {
    const page = await sallyport.access.limits({
      ...{ user, address: options.address },
      ...{ skip: windows.length, limit: PAGE },
    });
    windows.push(...page);
    if (page.length < PAGE) break;
  }
  const shown = options.json ? windows : windows.slice(0, MAX_ROWS);
  const names = await namesOf(
    sallyport,
    shown.map((window) => window.user),
  );
  return {
    json: shown.map((window) => ({ ...window, label: names.label(window.user) })),
    lines:
      windows.length === 0
        ? ["No window of a limit is open."]
        : first(aligned(shown.map((window) => row(window, names))), windows.length),
  };
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
  if ([user, address, all].filter((given) => given !== undefined).length !== 1) {
    throw new ConfigurationError("Name the windows to clear: one of --user USER, --address IP and --all.");
  }
  const cleared = await sallyport.access.clearLimits(await toClear(sallyport, { user, address }), {
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
