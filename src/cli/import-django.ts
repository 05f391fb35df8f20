import { type Command, Option } from "commander";
import type { Sallyport } from "../sallyport.ts";
import { actor, withReason } from "./change.ts";
import type { DjangoDatabase } from "./import-django/database.ts";
import { gatewayLines, type PackageReport, readPackage } from "./import-django/gateways.ts";
import { importAuth } from "./import-django/importer.ts";
import { type AuthLayout, authLayout, type UserOptions } from "./import-django/layout.ts";
import { openDjangoDatabase } from "./import-django/open.ts";
import { type Kind, noteLine, OUTCOMES, Tally } from "./import-django/tally.ts";
import { IMPORTED_BY } from "./import-django/users.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, first } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** The options of `import-django`. */
export interface ImportFormat extends Format, UserOptions {
  readonly database: string;
  readonly apply?: boolean;
  readonly reason?: string;
}

/** Adds `import-django`. */
export function addImportDjango(program: Command, terminal: Terminal): void {
  const command = program
    .command("import-django")
    .description("Import users, groups, permissions and gateways from the database of a Django project")
    .requiredOption("--database <url>", "the database: postgres://…, or the path or URL of a SQLite file")
    .option("--user-table <table>", "the table of a custom user model (default: auth_user)")
    .option("--user-id-column <column>", "the column with the user id of the app (default: the primary key)")
    .addOption(
      new Option("--uuid-format <format>", "how UUIDs are written as user ids")
        .choices(["hyphens", "hex"])
        .default("hyphens"),
    )
    .option("--apply", "write the changes (default: only report them)");
  reporting<ImportFormat>(withReason(command), terminal, importDjango);
}

/** Imports the database that the options name, and returns the report. */
export async function importDjango(sallyport: Sallyport, options: ImportFormat): Promise<Report> {
  const database = await openDjangoDatabase(options.database);
  try {
    return await importFrom(sallyport, database, options);
  } finally {
    await database.close();
  }
}

async function importFrom(
  sallyport: Sallyport,
  database: DjangoDatabase,
  options: ImportFormat,
): Promise<Report> {
  const { apply: isApplied = false, reason, uuidFormat } = options;
  const tally = new Tally();
  const layout = await authLayout(database, options);
  const by = actor().replace(/^cli:/, IMPORTED_BY);
  await importAuth({ sallyport, database, layout, tally, isApplied, by, reason, uuidFormat });
  const found = await readPackage(sallyport, database, tally);
  return reportOf(tally, found, layout, isApplied);
}

function reportOf(tally: Tally, found: PackageReport, layout: AuthLayout, isApplied: boolean): Report {
  const { counts, notes } = tally;
  const missingTables = missingLinks(layout);
  return {
    json: { applied: isApplied, counts, notes, ...found, missingTables },
    lines: [
      isApplied ? "Imported:" : "Dry run, nothing has changed. With --apply:",
      ...countLines(counts),
      ...first(notes.map(noteLine)),
      ...missingTables.map((table) => `The table ${table} does not exist, so it was not read.`),
      ...found.notImported.map((line) => `not imported: ${line}`),
      "Nothing was removed. What exists only in Sallyport is kept.",
      ...gatewayLines(found.gateways),
    ],
  };
}

function countLines(counts: Tally["counts"]): readonly string[] {
  const rows = Object.entries(counts).map(([kind, numbers]) => [
    kind as Kind,
    ...OUTCOMES.map((outcome) => (numbers[outcome] === 0 ? "" : `${outcome} ${numbers[outcome]}`)),
  ]);
  return rows.length === 0 ? ["no rows"] : aligned(rows);
}

/** Returns the tables of the user model that do not exist. */
function missingLinks({ users, memberships, userPermissions }: AuthLayout): readonly string[] {
  return [
    ...(memberships ? [] : [`${users.name}_groups`]),
    ...(userPermissions ? [] : [`${users.name}_user_permissions`]),
  ];
}
