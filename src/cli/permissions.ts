import type { Command } from "commander";
import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { PermissionInfo, RuleChange } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { actor, type ChangeCommand, type ChangeFormat, changing, withChangeOptions } from "./change.ts";
import { ruleChangeLines } from "./describe-rule.ts";
import { type Names, namesOf } from "./find-user.ts";
import { migrated } from "./migrate.ts";
import { addPermissionHolders } from "./permissions-who.ts";
import { type Report, reporting } from "./report.ts";
import { aligned, first } from "./table.ts";
import { quoted, type Terminal } from "./terminal.ts";

/** Adds `permissions list`, `sync`, `prune`, `diff` and `who`. */
export function addPermissions(program: Command, terminal: Terminal): void {
  const permissions = program
    .command("permissions")
    .description("Compare and store the permissions and rules that the code declares");
  const command = (name: string, description: string) => permissions.command(name).description(description);

  reporting(
    command("list", "List permissions that are declared, stored in the database, or stale"),
    terminal,
    list,
  );
  reporting<ChangeFormat>(
    withChangeOptions(command("sync", "Store the declared permissions and rules in the database")),
    terminal,
    sync,
  );
  changing(
    command("prune", "Remove stale permissions, with every grant of them").argument(
      "[permissions...]",
      "the permissions (default: all stale ones)",
    ),
    terminal,
    prune,
  );
  reporting(
    command(
      "diff",
      "Show who gains or loses access by the rules of this code (exit code 1 if a rule widens or is new)",
    ),
    terminal,
    diff,
  );
  addPermissionHolders(permissions, terminal);
}

async function list(sallyport: Sallyport): Promise<Report> {
  const known = await sallyport.access.permissions.list();
  const rows = known.map((permission) => [permission.name, permission.label, stateWords(permission)]);
  return { json: known, lines: rows.length === 0 ? ["There are no permissions."] : first(aligned(rows)) };
}

function stateWords({ isDeclared, isStored }: PermissionInfo): string {
  if (!isDeclared) return "stale: in the database, no longer declared";
  return isStored ? "declared, in the database" : "declared, not in the database yet (permissions sync)";
}

/**
 * Reads the permissions first, so that it fails if the tables are missing. Only migrate creates
 * them.
 */
async function sync(sallyport: Sallyport, { dryRun, reason }: ChangeFormat): Promise<Report> {
  const known = await sallyport.access.permissions.list();
  const upToDate = "permissions and rules are up to date";
  if (!dryRun) {
    const { json, lines } = migrated(await sallyport.migrate({ by: actor(), reason }), upToDate);
    return { json: { dryRun: false, ...json }, lines };
  }
  const names = { added: known.filter(isNew).map(nameOf), stale: known.filter(isStale).map(nameOf) };
  const changes = await sallyport.access.permissions.ruleChanges();
  const rules = changes.map(({ kind, name, change, widens }) => ({ kind, name, change, widens }));
  const { json, lines } = migrated({ migrations: [], ...names, rules }, upToDate);
  const printed = rules.length + names.added.length > 0 ? lines.slice(1) : lines;
  return {
    json: { dryRun: true, ...json },
    lines: ["Dry run, nothing has changed. Without --dry-run:", ...printed],
  };
}

const isNew = ({ isStored }: PermissionInfo) => !isStored;
const isStale = ({ isDeclared }: PermissionInfo) => !isDeclared;
const nameOf = ({ name }: PermissionInfo) => name;

async function prune(sallyport: Sallyport, names: readonly string[]): Promise<ChangeCommand> {
  const stale = (await sallyport.access.permissions.list()).filter(isStale).map(nameOf);
  for (const name of names) checkStale(sallyport, name, stale);
  const pruned = names.length > 0 ? names : stale;
  return {
    change: { kind: "prune-permissions", permissions: pruned },
    done: `Removed, with every grant of them: ${pruned.join(", ")}`,
    already: "Nothing is stale: every permission in the database is declared.",
  };
}

/** @throws ConfigurationError if a permission is declared or does not exist */
function checkStale(sallyport: Sallyport, name: string, stale: readonly string[]): void {
  if (stale.includes(name)) return;
  const message = sallyport.permissions.find(name)
    ? `${name} is declared in code. Remove it from definePermissions() first.`
    : `There is no stale permission ${quoted(name)}.${closestMatch(name, stale) || " Run permissions list to see them."}`;
  throw new ConfigurationError(message, { code: "SALLYPORT_UNKNOWN_NAME" });
}

async function diff(sallyport: Sallyport): Promise<Report> {
  const changes = await sallyport.access.permissions.ruleChanges();
  const widens = changes.some((change) => change.widens);
  const names = await namesOf(
    sallyport,
    changes.flatMap(({ gains, loses }) => [...gains, ...loses]),
  );
  const labelled = (ids: readonly string[]) => ids.map((user) => ({ user, label: names.label(user) }));
  const json = {
    widens,
    changes: changes.map(({ gains, loses, ...change }) => ({
      ...change,
      gains: labelled(gains),
      loses: labelled(loses),
    })),
  };
  const lines = changes.flatMap((change) => changeLines(change, names));
  return {
    json,
    lines: lines.length > 0 ? lines : ["The rules equal those of the running code."],
    code: widens ? 1 : 0,
  };
}

function changeLines(change: RuleChange, { name }: Names): readonly string[] {
  const { gains, loses } = change;
  const rows = [
    ...gains.map((user) => `  gains  ${name(user)}`),
    ...loses.map((user) => `  loses  ${name(user)}`),
  ];
  return [...ruleChangeLines(change), ...first(rows)];
}
