import type { Command } from "commander";
import { ConfigurationError } from "../errors.ts";
import type { AuditEntry, Decision, Explanation } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { auditDetailLines, describeAuditEntry } from "./describe-audit-entry.ts";
import { stepLines } from "./describe-rule.ts";
import { findUser, type Names, namesOf } from "./find-user.ts";
import { formatInstant } from "./instants.ts";
import { lossBefore } from "./lost-permission.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned } from "./table.ts";
import { quoted, type Terminal } from "./terminal.ts";

interface WhyFormat extends Format {
  readonly user?: string;
  readonly view?: string;
  readonly handler?: string;
  readonly channel?: string;
}

/** Adds `why`, which explains a stored decision, or what would be decided now. */
export function addWhy(program: Command, terminal: Terminal): void {
  const command = program
    .command("why")
    .description("Explain a stored decision, or what would be decided now")
    .argument("[reference]", "the reference that the client received (without it, use --user and --view)")
    .option("--user <user>", "the user to explain (default: a client that is not signed in)")
    .option("--view <path>", "a view, such as /ws/chat (default: the only view)")
    .option("--handler <name>", "a handler of that view")
    .option("--channel <name>", "a channel, such as rooms/general");
  reporting<WhyFormat>(command, terminal, (sallyport, options, [reference]) => {
    if (reference === undefined) return explainNow(sallyport, options);
    const { json: _, ...rest } = options;
    if (Object.keys(rest).length === 0) return explainStored(sallyport, reference);
    throw new ConfigurationError("Pass a reference, or --user and --view, but not both.");
  });
}

async function explainNow(sallyport: Sallyport, options: WhyFormat): Promise<Report> {
  const { handler, channel } = options;
  const view = options.view ?? onlyView(sallyport, options);
  const user = options.user === undefined ? null : await findUser(sallyport, options.user);
  const explanation = await sallyport.access.explain({ user, view, handler, channel });
  const names = await namesOf(sallyport, [user]);
  return {
    json: { label: names.label(user), ...explanation },
    lines: explanationLines(explanation, names),
  };
}

/**
 * Returns the view of an app with a single view.
 *
 * @throws ConfigurationError if the question is empty, or the app has several views
 */
function onlyView({ viewPaths }: Sallyport, { user, handler, channel }: WhyFormat): string {
  const [view] = viewPaths;
  if ([user, handler, channel].every((option) => option === undefined)) {
    const example = viewPaths.length > 1 ? `--user ann --view ${view}` : "--user ann";
    throw new ConfigurationError(
      `Pass the reference of a denial, such as why 3f0a9c1b2d4e, or a user, such as why ${example}.`,
    );
  }
  if (view !== undefined && viewPaths.length === 1) return view;
  throw new ConfigurationError(`The app has several views. Name one with --view: ${viewPaths.join(", ")}.`);
}

function explanationLines(explanation: Explanation, { name }: Names): readonly string[] {
  const { user, verdict, message, steps, uncalledHooks } = explanation;
  return [
    `${verdict} for ${name(user)}: ${message}`,
    ...steps.flatMap(stepLines),
    ...uncalledHooks.map((what) => `? ${what} is called only for a real message`),
  ];
}

/** Explains a stored decision. @throws ConfigurationError if none has the reference */
export async function explainStored(sallyport: Sallyport, reference: string): Promise<Report> {
  const decision = await sallyport.access.explain(reference);
  if (!decision) {
    throw new ConfigurationError(
      `No decision is stored for the reference ${quoted(reference)}. Decisions are removed after a limited time. ` +
        "A + at the end means that the denial was counted and not stored. " +
        "Check the reference, which has 12 characters of 0-9 and a-f.",
      { code: "SALLYPORT_UNKNOWN_NAME" },
    );
  }
  const change = await changeOf(sallyport, decision);
  const loss = change ? undefined : await lossBefore(sallyport, decision);
  const { userId = null } = decision;
  const names = await namesOf(sallyport, [
    userId,
    ...[change, loss].flatMap((entry) => [entry?.user ?? null, entry?.by ?? null]),
  ]);
  const lines = [
    ...(decision.isCounted ? [COUNTED] : []),
    `${decision.verdict} (${[decision.status, decision.reason].filter(Boolean).join(", ")}): ${decision.message}`,
    ...aligned(facts(decision, names)),
    ...decision.steps.flatMap(stepLines),
    ...(change ? changeLines("followed from", change, names) : []),
    ...(loss ? changeLines("lost with", loss, names) : []),
  ];
  const json = {
    label: names.label(userId),
    ...decision,
    followedFrom: change ?? null,
    lostWith: loss ?? null,
  };
  return { json, lines };
}

const COUNTED =
  "This denial was counted and not stored, because many of its kind occurred. An earlier denial of the same kind:";

/** Returns the change that caused a revocation, or undefined for another decision. */
async function changeOf(sallyport: Sallyport, { change }: Decision): Promise<AuditEntry | undefined> {
  if (change === undefined) return undefined;
  const [entry] = await sallyport.access.audit.list({ before: change + 1, limit: 1 });
  return entry?.number === change ? entry : undefined;
}

function facts(decision: Decision, { name }: Names): readonly (readonly string[])[] {
  const { at, event, path, view, handler, channel, sourceIp, gateway, repeats } = decision;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["  when", formatInstant(at)],
    ["  user", name(decision.userId ?? null)],
    ["  event", `${event} ${path}`],
    ["  view", view],
    ["  handler", handler],
    ["  channel", channel],
    ["  gateway", gateway],
    // The id that connections close accepts, and the id of API Gateway.
    ["  connection", decision.connectionKey],
    ["  connectionId", decision.connectionId],
    ["  address", sourceIp],
    ["  similar", repeats > 0 ? `${repeats} more, counted here` : undefined],
  ];
  return rows.flatMap(([label, value]) => (value === undefined ? [] : [[label, value]]));
}

/** @param relation what the change did, such as "followed from" */
function changeLines(relation: string, change: AuditEntry, names: Names): readonly string[] {
  const { number, at, by, reason } = change;
  return [
    `${relation} change ${number}: ${by === null ? "an unknown author" : names.name(by)} ${describeAuditEntry(change, names)}`,
    `    at ${formatInstant(at)}${reason === null ? "" : `, "${reason}"`}`,
    ...auditDetailLines(change).map((line) => `    ${line}`),
  ];
}
