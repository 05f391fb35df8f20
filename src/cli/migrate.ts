import type { Command } from "commander";
import { withApp } from "./app.ts";
import type { Terminal } from "./terminal.ts";

/** `migrate`: the tables, and the permissions declared in code. */
export function addMigrate(program: Command, terminal: Terminal): void {
  program
    .command("migrate")
    .description("Bring the tables up to date and the declared permissions into them")
    .action(() =>
      withApp(terminal.app(), async (sallyport) => {
        const { migrations, added, stale } = await sallyport.migrate();
        terminal.print(
          migrations.length > 0 ? `migrated: ${migrations.join(", ")}` : "tables are up to date",
        );
        if (added.length > 0) terminal.print(`permissions added: ${added.join(", ")}`);
        if (stale.length > 0) terminal.print(`in the database but no longer declared: ${stale.join(", ")}`);
      }),
    );
}
