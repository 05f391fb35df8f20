import type { Command } from "commander";
import type { AuditEntry } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { rowCount } from "./arguments.ts";
import { describeAuditEntry } from "./describe-audit-entry.ts";
import { findUser, type Names, namesOf } from "./find-user.ts";
import { pastInstant, shownInstant } from "./instants.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, MAX_ROWS } from "./table.ts";
import type { Terminal } from "./terminal.ts";

interface AuditFormat extends Format {
  readonly user?: string;
  readonly since?: number;
  readonly limit: number;
}

/** `audit`: who did what, when and why. */
export function addAudit(program: Command, terminal: Terminal): void {
  const command = program
    .command("audit")
    .description("Tell who changed what, when and why, the newest first")
    .option("--user <user>", "only what was done to this user")
    .option("--since <start>", "only since then: 30m, 2h, 7d or 4w ago, or a date (UTC)", pastInstant)
    .option("--limit <number>", "at most so many, 1000 being the most", rowCount, MAX_ROWS);
  reporting<AuditFormat>(command, terminal, audit);
}

async function audit(sallyport: Sallyport, options: AuditFormat): Promise<Report> {
  const { since, limit } = options;
  const user = options.user === undefined ? undefined : await findOnceKnown(sallyport, options.user);
  const entries = await sallyport.access.audit({ user, since, limit });
  const ids = entries.flatMap((entry) => [entry.user, entry.by]);
  const names = await namesOf(sallyport, ids);
  const json = entries.map((entry) => ({ ...entry, label: names.label(entry.user) }));
  if (entries.length === 0) return { json, lines: ["Nothing has been done."] };
  const before = entries.at(-1)?.number;
  const [older] = await sallyport.access.audit({ user, since, before, limit: 1 });
  const lines = aligned(entries.map((entry) => row(entry, names)));
  return { json, lines: older ? [...lines, "There are older entries: --limit shows more."] : lines };
}

function row(entry: AuditEntry, names: Names): readonly string[] {
  const { number, at, by, reason } = entry;
  const why = reason === null ? "" : `"${reason}"`;
  return [
    `${number}`,
    shownInstant(at),
    by === null ? "somebody" : names.name(by),
    describeAuditEntry(entry, names),
    why,
  ];
}

/** Somebody who was deleted is still in the audit. */
async function findOnceKnown(sallyport: Sallyport, text: string): Promise<string> {
  const [entry] = await sallyport.access.audit({ user: text, limit: 1 });
  return findUser(sallyport, text).catch((error: unknown) => {
    if (entry) return text;
    throw error;
  });
}
