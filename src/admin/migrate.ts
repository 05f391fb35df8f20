import type { Kysely } from "kysely";
import { type ChangeOptions, checkChangeOptions } from "../permissions/grants.ts";
import { EVERYONE } from "../revocation/changed-subjects.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { Services } from "../services.ts";
import type { Tables } from "../storage/database.ts";
import { afterCommit } from "../storage/storage-errors.ts";
import { type RuleChange, recordRules } from "./compare-rules.ts";

/** What a migration did. */
export interface MigrationResult {
  /** Names of the migrations that ran. */
  readonly migrations: readonly string[];
  /** Permissions that are in the database from now on. */
  readonly added: readonly string[];
  /** Permissions in the database that are no longer declared. They are left alone. */
  readonly stale: readonly string[];
  /** Rules that differ from those recorded before. The first migration compares with nothing. */
  readonly rules: readonly Pick<RuleChange, "kind" | "name" | "change" | "widens">[];
}

/** A version of the app takes over: tables, permissions and rules become those of its code, and open sockets follow. */
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
    next: "A process that serves will judge the open connections.",
  };
  await afterCommit(services.database, committed, () => worker.enforce());
  return { migrations, ...synced };
}

/** A channel's pattern selects no sessions, so everyone is looked at again where one has changed. */
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
