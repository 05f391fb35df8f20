import type { Command } from "commander";
import { reporting } from "./report.ts";
import type { Terminal } from "./terminal.ts";

/** `migrate`: the tables, and the permissions declared in code. */
export function addMigrate(program: Command, terminal: Terminal): void {
  const command = program
    .command("migrate")
    .description("Bring the tables up to date and the declared permissions into them");
  reporting(command, terminal, async (sallyport) =>
    migrated(await sallyport.migrate(), "tables are up to date"),
  );
}

interface Migrated {
  readonly migrations: readonly string[];
  readonly added: readonly string[];
  readonly stale: readonly string[];
}

/** What a migration did, as a report. @param upToDate said where no table changed */
export function migrated(done: Migrated, upToDate: string): { json: Migrated; lines: readonly string[] } {
  const { migrations, added, stale } = done;
  const lines = [migrations.length > 0 ? `migrated: ${migrations.join(", ")}` : upToDate];
  if (added.length > 0) lines.push(`permissions added: ${added.join(", ")}`);
  if (stale.length > 0) lines.push(`in the database but no longer declared: ${stale.join(", ")}`);
  return { json: done, lines };
}
