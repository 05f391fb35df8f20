import type { Command } from "commander";
import type { MigrationResult } from "../index.ts";
import { actor, withReason } from "./change.ts";
import { describeRuleChange } from "./describe-rule.ts";
import { type Format, reporting } from "./report.ts";
import type { Terminal } from "./terminal.ts";

/** Adds `migrate`, which updates the tables and stores the declared permissions and rules. */
export function addMigrate(program: Command, terminal: Terminal): void {
  const command = program
    .command("migrate")
    .description("Create or update the tables, and store the declared permissions and rules");
  reporting<Format & { readonly reason?: string }>(
    withReason(command),
    terminal,
    async (sallyport, { reason }) =>
      migrated(await sallyport.migrate({ by: actor(), reason }), "tables are up to date"),
  );
}

/**
 * Formats the result of a migration as a report.
 *
 * @param upToDate the line that is printed if no table changed
 */
export function migrated(
  done: MigrationResult,
  upToDate: string,
): { json: MigrationResult; lines: readonly string[] } {
  const { migrations, added, stale, rules } = done;
  const lines = [migrations.length > 0 ? `migrated: ${migrations.join(", ")}` : upToDate];
  if (added.length > 0) lines.push(`permissions added: ${added.join(", ")}`);
  if (stale.length > 0) lines.push(`in the database but no longer declared: ${stale.join(", ")}`);
  return { json: done, lines: [...lines, ...rules.map(describeRuleChange)] };
}
