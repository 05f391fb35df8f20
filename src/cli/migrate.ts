import type { Command } from "commander";
import type { MigrationResult } from "../index.ts";
import { actor, withReason } from "./change.ts";
import { type Format, reporting } from "./report.ts";
import type { Terminal } from "./terminal.ts";

/** `migrate`: the tables, and the permissions and rules declared in code. */
export function addMigrate(program: Command, terminal: Terminal): void {
  const command = program
    .command("migrate")
    .description("Bring the tables up to date and the declared permissions into them");
  reporting<Format & { readonly reason?: string }>(
    withReason(command),
    terminal,
    async (sallyport, { reason }) =>
      migrated(await sallyport.migrate({ by: actor(), reason }), "tables are up to date"),
  );
}

/** What a migration did, as a report. @param upToDate said where no table changed */
export function migrated(
  done: MigrationResult,
  upToDate: string,
): { json: MigrationResult; lines: readonly string[] } {
  const { migrations, added, stale, rules } = done;
  const lines = [migrations.length > 0 ? `migrated: ${migrations.join(", ")}` : upToDate];
  if (added.length > 0) lines.push(`permissions added: ${added.join(", ")}`);
  if (stale.length > 0) lines.push(`in the database but no longer declared: ${stale.join(", ")}`);
  for (const { kind, name, change, widens } of rules)
    lines.push(`${widens ? "WIDENS  " : ""}${kind} ${name}: ${change}`);
  return { json: done, lines };
}
