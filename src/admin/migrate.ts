import type { Kysely } from "kysely";
import { type ChangeOptions, checkChangeOptions } from "../permissions/grants.ts";
import { EVERYONE } from "../revocation/changed-subjects.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { Services } from "../services.ts";
import type { Tables } from "../storage/database.ts";
import { afterCommit } from "../storage/storage-errors.ts";
import { type RuleChange, recordRules } from "./compare-rules.ts";

/** The result of a migration. */
export interface MigrationResult {
  /** Names of the schema migrations that ran. */
  readonly migrations: readonly string[];
  /** Permissions that were added to the database. */
  readonly added: readonly string[];
  /** Permissions in the database that the code no longer declares. They are not changed. */
  readonly stale: readonly string[];
  /** Rules that differ from those stored before. Empty for the first migration. */
  readonly rules: readonly Pick<RuleChange, "kind" | "name" | "change" | "widens">[];
}

/**
 * Migrates the schema, and stores the permissions and rules of this version of the app. Then open
 * connections are checked against the rules.
 *
 * @param options `by` and `reason` for the audit log. `by` defaults to "migrate"
 * @throws ConfigurationError if an option is invalid
 */
export async function migrate(
  services: Services,
  worker: RevocationWorker,
  options: ChangeOptions = {},
): Promise<MigrationResult> {
  checkChangeOptions(options);
  const migrations = await services.database.migrate();
  const synced = await services.database.transaction(async (db) => {
    const changes = await recordRules(services, db);
    if (changes.length > 0) await recordChange(services, db, changes, options);
    const rules = changes.map(({ kind, name, change, widens }) => ({ kind, name, change, widens }));
    return { rules, ...(await services.permissionRows.sync(db)) };
  });
  const committed = {
    change: "The migration",
    next: "A serving process will check the open connections. Do not repeat the migration.",
  };
  await afterCommit(services.database, committed, () => worker.enforce());
  return { migrations, ...synced };
}

/** Records the changed rules. A channel pattern selects no connections, so it affects everyone. */
async function recordChange(
  services: Services,
  db: Kysely<Tables>,
  changes: readonly RuleChange[],
  { by = "migrate", reason }: ChangeOptions,
): Promise<void> {
  const { revocations, audit, changeLog } = services;
  const changesChannels = changes.some(({ kind }) => kind === "channel");
  const views = changes.filter(({ kind, change }) => kind === "view" && change === "changed");
  const subjects = views.map(({ name }) => ({ scope: "view", subject: name }) as const);
  const number = await changeLog.append(db, changesChannels ? EVERYONE : subjects);
  const rules = changes.map(({ kind, name, change, widens }) => ({ kind, name, change, widens }));
  await audit.record(db, number, { action: "rules-changed", by, reason, details: { rules } });
  if (changesChannels) {
    await revocations.record(db, { scope: "everyone" }, number);
    return;
  }
  for (const view of subjects) await revocations.record(db, view, number);
}
