import type { Command } from "commander";
import { ConfigurationError } from "../errors.ts";
import type { AuditEntry, Decision, Explanation } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { describeAuditEntry } from "./describe-audit-entry.ts";
import { stepLines } from "./describe-rule.ts";
import { findUser, type Names, namesOf } from "./find-user.ts";
import { shownInstant } from "./instants.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned } from "./table.ts";
import { quoted, type Terminal } from "./terminal.ts";

interface Question extends Format {
  readonly user?: string;
  readonly view?: string;
  readonly handler?: string;
  readonly channel?: string;
}

/** `why`: the reasons of a decision that was made, or of what the gate would say now. */
export function addWhy(program: Command, terminal: Terminal): void {
  const command = program
    .command("why")
    .description("Tell why something was decided, or what would be decided now")
    .argument("[reference]", "as the peer was told it; without, --view asks about now")
    .option("--user <user>", "whose access; without, somebody who has not signed in")
    .option("--view <path>", "a view, such as /ws/chat")
    .option("--handler <name>", "a handler of that view")
    .option("--channel <name>", "a channel, such as rooms/general");
  reporting<Question>(command, terminal, (sallyport, question, [reference]) => {
    if (reference === undefined) return ofNow(sallyport, question);
    const { json: _, ...rest } = question;
    if (Object.keys(rest).length === 0) return ofThen(sallyport, reference);
    throw new ConfigurationError("Give a reference, or --user and --view, not both.");
  });
}

async function ofNow(sallyport: Sallyport, question: Question): Promise<Report> {
  const { view, handler, channel } = question;
  if (view === undefined) {
    throw new ConfigurationError("Give a reference, or name a view: why --user USER --view PATH.");
  }
  const user = question.user === undefined ? null : await findUser(sallyport, question.user);
  const explanation = await sallyport.access.explain({ user, view, handler, channel });
  const names = await namesOf(sallyport, [user]);
  return {
    json: { label: names.label(user), ...explanation },
    lines: explanationLines(explanation, names),
  };
}

function explanationLines(explanation: Explanation, { name }: Names): readonly string[] {
  const { user, verdict, message, steps, unasked } = explanation;
  return [
    `${verdict} for ${name(user)}: ${message}`,
    ...steps.flatMap(stepLines),
    ...unasked.map((what) => `? ${what} can be asked by a real message only`),
  ];
}

async function ofThen(sallyport: Sallyport, reference: string): Promise<Report> {
  const decision = await sallyport.access.explain(reference);
  if (!decision) {
    throw new ConfigurationError(
      `No decision is stored for the reference ${quoted(reference)}. A reference has 12 characters of 0-9 and a-f. ` +
        "A + at its end means that the denial was counted and not stored. Decisions are removed after a limited time.",
      { code: "SALLYPORT_UNKNOWN_NAME" },
    );
  }
  const change = await changeOf(sallyport, decision);
  const { userId = null } = decision;
  const names = await namesOf(sallyport, [userId, change?.user ?? null, change?.by ?? null]);
  const lines = [
    ...(decision.isCounted ? [COUNTED] : []),
    `${decision.verdict} (${[decision.status, decision.reason].filter(Boolean).join(", ")}): ${decision.message}`,
    ...aligned(facts(decision, names)),
    ...decision.steps.flatMap(stepLines),
    ...(change ? changeLines(change, names) : []),
  ];
  return { json: { label: names.label(userId), ...decision, followedFrom: change ?? null }, lines };
}

const COUNTED =
  "This denial was counted and not stored, because many of its kind occurred. An earlier denial of the same kind:";

/** The change that an eviction followed from. */
async function changeOf(sallyport: Sallyport, { change }: Decision): Promise<AuditEntry | undefined> {
  if (change === undefined) return undefined;
  const [entry] = await sallyport.access.audit({ before: change + 1, limit: 1 });
  return entry?.number === change ? entry : undefined;
}

function facts(decision: Decision, { name }: Names): readonly (readonly string[])[] {
  const { at, event, path, view, handler, channel, sourceIp, gateway, connectionId, repeats } = decision;
  const told: readonly (readonly [string, string | undefined])[] = [
    ["  when", shownInstant(at)],
    ["  user", name(decision.userId ?? null)],
    ["  event", `${event} ${path}`],
    ["  view", view],
    ["  handler", handler],
    ["  channel", channel],
    ["  gateway", gateway],
    ["  connection", connectionId],
    ["  address", sourceIp],
    ["  alike", repeats > 0 ? `${repeats} more, counted here` : undefined],
  ];
  return told.flatMap(([what, value]) => (value === undefined ? [] : [[what, value]]));
}

function changeLines(change: AuditEntry, names: Names): readonly string[] {
  const { number, at, by, reason } = change;
  return [
    `followed from change ${number}: ${by === null ? "somebody" : names.name(by)} ${describeAuditEntry(change, names)}`,
    `    at ${shownInstant(at)}${reason === null ? "" : `, "${reason}"`}`,
  ];
}
