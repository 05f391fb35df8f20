import { type Command, Option } from "commander";
import type { Decision, DecisionFilter } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { withApp } from "./app.ts";
import { rowCount } from "./arguments.ts";
import { findUser, namesOf } from "./find-user.ts";
import { formatInstant, parsePastInstant } from "./instants.ts";
import { NewDecisions } from "./new-decisions.ts";
import { type Format, print, withJson } from "./report.ts";
import { StopSignal } from "./stop-signal.ts";
import { aligned, MAX_ROWS } from "./table.ts";
import { oneLine, type Terminal } from "./terminal.ts";

interface DecisionsFormat extends Format {
  readonly user?: string;
  readonly verdict?: "allowed" | "denied";
  readonly reason?: string;
  readonly since?: number;
  readonly limit: number;
  readonly follow?: boolean;
}

/** The interval at which `--follow` reads the database, in milliseconds. */
const FOLLOW_EVERY_MS = 1000;
/** Adds `decisions`, which lists stored decisions and, with `--follow`, new ones. */
export function addDecisions(program: Command, terminal: Terminal): void {
  const command = program
    .command("decisions")
    .description("List stored decisions, newest first")
    .option("--user <user>", "only decisions about this user")
    .addOption(
      new Option("--verdict <verdict>", "only decisions with this verdict").choices(["allowed", "denied"]),
    )
    .option("--reason <reason>", "only denials for this reason, such as limit or token-replayed")
    .option(
      "--since <start>",
      "only since this time: 30m, 2h, 7d or 4w ago, or a date (UTC)",
      parsePastInstant,
    )
    .option("--limit <number>", "the maximum number of decisions, at most 1000", rowCount, MAX_ROWS)
    .option("--follow", "print the newest last, and continue with new ones until Ctrl-C");
  withJson(command).action(() =>
    withApp(terminal.app(), async (sallyport) => {
      const options = command.opts<DecisionsFormat>();
      const filter = await filterOf(sallyport, options);
      if (options.follow) await follow(sallyport, terminal, options, filter);
      else await list(sallyport, terminal, options, filter);
    }),
  );
}

async function filterOf(
  sallyport: Sallyport,
  { user, verdict, reason, since, limit }: DecisionsFormat,
): Promise<DecisionFilter> {
  const id = user === undefined ? undefined : await findUser(sallyport, user);
  return { user: id, verdict, reason, since, limit };
}

async function list(
  sallyport: Sallyport,
  terminal: Terminal,
  options: Format,
  filter: DecisionFilter,
): Promise<void> {
  const decisions = await sallyport.access.audit.decisions(filter);
  const { json, lines } = await formatDecisions(sallyport, decisions);
  if (lines.length === 0) return print(terminal, options, { json, lines: ["No decision is stored."] });
  const [older] = await sallyport.access.audit.decisions({ ...filter, after: decisions.at(-1), limit: 1 });
  const more = older ? ["There are older decisions: --limit shows more."] : [];
  print(terminal, options, { json, lines: [...lines, ...more] });
}

/** Prints the newest decisions, and then each new one when it is stored. */
async function follow(
  sallyport: Sallyport,
  terminal: Terminal,
  options: Format,
  filter: DecisionFilter,
): Promise<void> {
  const ending = new StopSignal();
  const decisions = new NewDecisions(sallyport, filter);
  let notice: string | undefined;
  for (;;) {
    try {
      const result = await decisions.next();
      const { json, lines } = await formatDecisions(sallyport, result.decisions);
      for (const [index, line] of lines.entries())
        print(terminal, options, { json: json[index], lines: [line] });
      decisions.printed(result);
      if (result.notice !== undefined && result.notice !== notice)
        terminal.complain(`sallyport: ${result.notice}`);
      notice = result.notice;
    } catch (error) {
      // The database can be available again at the next interval.
      terminal.complain(`sallyport: ${oneLine(error)}`);
    }
    if (await ending.within(FOLLOW_EVERY_MS)) return;
  }
}

/** Formats decisions as documents and as lines, in the same order. */
async function formatDecisions(sallyport: Sallyport, decisions: readonly Decision[]) {
  const names = await namesOf(
    sallyport,
    decisions.map(({ userId = null }) => userId),
  );
  const rows = decisions.map((decision) => {
    const { at, status, reason, userId = null, event, view, handler, channel } = decision;
    return [
      formatInstant(at),
      decision.verdict,
      reason === undefined ? `${status}` : `${status} ${reason}`,
      names.name(userId),
      [event, view, handler, channel].filter(Boolean).join(" "),
      decision.reference,
      decision.repeats > 0 ? `and ${decision.repeats} similar` : "",
    ];
  });
  return {
    json: decisions.map((decision) => ({
      label: names.label(decision.userId ?? null),
      ...decision,
      verdict: decision.verdict,
    })),
    lines: aligned(rows),
  };
}
