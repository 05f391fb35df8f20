import type { Command } from "commander";
import type { AuditEntry } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { rowCount } from "./arguments.ts";
import { auditDetailLines, describeAuditEntry } from "./describe-audit-entry.ts";
import { findUser, type Names, namesOf } from "./find-user.ts";
import { formatInstant, parsePastInstant } from "./instants.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, MAX_ROWS } from "./table.ts";
import type { Terminal } from "./terminal.ts";

interface AuditFormat extends Format {
  readonly user?: string;
  readonly since?: number;
  readonly limit: number;
}

/** Adds `audit`, which lists changes of access. */
export function addAudit(program: Command, terminal: Terminal): void {
  const command = program
    .command("audit")
    .description("List who changed what, when and why, newest first")
    .option("--user <user>", "only changes of this user")
    .option(
      "--since <start>",
      "only since this time: 30m, 2h, 7d or 4w ago, or a date (UTC)",
      parsePastInstant,
    )
    .option("--limit <number>", "the maximum number of entries, at most 1000", rowCount, MAX_ROWS);
  reporting<AuditFormat>(command, terminal, audit);
}

async function audit(sallyport: Sallyport, options: AuditFormat): Promise<Report> {
  const { since, limit } = options;
  const user = options.user === undefined ? undefined : await findFormerUser(sallyport, options.user);
  const entries = await sallyport.access.audit.list({ user, since, limit });
  const ids = entries.flatMap((entry) => [entry.user, entry.by]);
  const names = await namesOf(sallyport, ids);
  const json = entries.map((entry) => ({ ...entry, label: names.label(entry.user) }));
  if (entries.length === 0) return { json, lines: ["There are no entries."] };
  const before = entries.at(-1)?.number;
  const [older] = await sallyport.access.audit.list({ user, since, before, limit: 1 });
  const rows = aligned(entries.map((entry) => row(entry, names)));
  const lines = entries.flatMap((entry, index) => [
    rows[index] ?? "",
    ...auditDetailLines(entry).map((line) => `    ${line}`),
  ]);
  return { json, lines: older ? [...lines, "There are older entries: --limit shows more."] : lines };
}

function row(entry: AuditEntry, names: Names): readonly string[] {
  const { number, at, by, reason } = entry;
  const quotedReason = reason === null ? "" : `"${reason}"`;
  return [
    `${number}`,
    formatInstant(at),
    by === null ? "an unknown author" : names.name(by),
    describeAuditEntry(entry, names),
    quotedReason,
  ];
}

/** Finds a user. The audit still contains a user who was deleted. */
async function findFormerUser(sallyport: Sallyport, text: string): Promise<string> {
  const [entry] = await sallyport.access.audit.list({ user: text, limit: 1 });
  return findUser(sallyport, text).catch((error: unknown) => {
    if (entry) return text;
    throw error;
  });
}
