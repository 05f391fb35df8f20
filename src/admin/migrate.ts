import { parseStoredRules, storedRules } from "../permissions/declared-rules.ts";
import { type ChangeOptions, checkChangeOptions } from "../permissions/grants.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { AdminServices } from "../services.ts";
import { afterCommit } from "../storage/storage-errors.ts";
import type { Storage } from "../storage/store.ts";
import { EVERYONE, type RuleConsequences } from "../storage/stores/changes.ts";
import { changedRules, declaredRules, type RuleChange } from "./compare-rules.ts";

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
  storage: Storage,
  services: AdminServices,
  worker: RevocationWorker,
  options: ChangeOptions = {},
): Promise<MigrationResult> {
  checkChangeOptions(options);
  const migrations = await storage.migrate();
  const { definitions, revocations, store } = services;
  let changes: readonly RuleChange[] = [];
  const synced = await store.changes.declare(
    { permissions: definitions.permissions.list(), rules: storedRules(declaredRules(services)) },
    (stored) => {
      changes = stored.length === 0 ? [] : changedRules(services, parseStoredRules(stored));
      return changes.length === 0 ? undefined : consequencesOf(changes, options);
    },
    { claimedBy: revocations.claimant.id },
  );
  const committed = {
    change: "The migration",
    next: "A serving process will check the open connections. Do not repeat the migration.",
  };
  await afterCommit(services.store, committed, () => worker.enforce());
  return { migrations, rules: changes.map(summaryOf), ...synced };
}

/**
 * Returns the consequences of changed rules. A channel pattern selects no connections, so it
 * affects everyone.
 */
function consequencesOf(
  changes: readonly RuleChange[],
  { by = "migrate", reason }: ChangeOptions,
): RuleConsequences {
  const views = changes.filter(({ kind, change }) => kind === "view" && change === "changed");
  const changesChannels = changes.some(({ kind }) => kind === "channel");
  return {
    audit: { action: "rules-changed", by, reason, details: { rules: changes.map(detailOf) } },
    subjects: changesChannels ? EVERYONE : views.map(({ name }) => ({ scope: "view", subject: name })),
  };
}

/** Returns what the audit log stores of a changed rule. Users are left out, because they can be many. */
function detailOf(change: RuleChange): Omit<RuleChange, "gains" | "loses"> {
  const { before, after } = change;
  return { ...summaryOf(change), before, after };
}

function summaryOf({ kind, name, change, widens }: RuleChange): MigrationResult["rules"][number] {
  return { kind, name, change, widens };
}
