import type { Command } from "commander";
import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { PermissionInfo, RuleChange } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { actor, type ChangeCommand, type ChangeFormat, changing, withChangeOptions } from "./change.ts";
import { ruleWords } from "./describe-rule.ts";
import { type Names, namesOf } from "./find-user.ts";
import { migrated } from "./migrate.ts";
import { type Report, reporting } from "./report.ts";
import { aligned, first } from "./table.ts";
import { quoted, type Terminal } from "./terminal.ts";

/** `permissions list | sync | prune | diff`. */
export function addPermissions(program: Command, terminal: Terminal): void {
  const permissions = program
    .command("permissions")
    .description("What the code declares, and what the database knows");
  const command = (name: string, description: string) => permissions.command(name).description(description);

  reporting(command("list", "List permissions: declared, in the database, stale"), terminal, list);
  reporting<ChangeFormat>(
    withChangeOptions(command("sync", "Bring declared permissions and rules into the database")),
    terminal,
    sync,
  );
  changing(
    command("prune", "Remove permissions that are no longer declared, with every grant of them").argument(
      "[permissions...]",
      "default: all that are stale",
    ),
    terminal,
    prune,
  );
  reporting(
    command("diff", "Tell who gains or loses by the rules of this code; exit code 1 when any widens"),
    terminal,
    diff,
  );
}

async function list(sallyport: Sallyport): Promise<Report> {
  const known = await sallyport.access.permissions();
  const rows = known.map((permission) => [permission.name, permission.label, stateWords(permission)]);
  return { json: known, lines: rows.length === 0 ? ["There are no permissions."] : first(aligned(rows)) };
}

function stateWords({ isDeclared, isStored }: PermissionInfo): string {
  if (!isDeclared) return "stale: in the database, no longer declared";
  return isStored ? "declared, in the database" : "declared, not in the database yet (permissions sync)";
}

/** Asks first what there is to do, which fails where the tables are missing: making those is for migrate. */
async function sync(sallyport: Sallyport, { dryRun, reason }: ChangeFormat): Promise<Report> {
  const known = await sallyport.access.permissions();
  const upToDate = "permissions and rules are up to date";
  if (!dryRun) {
    const { json, lines } = migrated(await sallyport.migrate({ by: actor(), reason }), upToDate);
    return { json: { dryRun: false, ...json }, lines };
  }
  const names = { added: known.filter(isNew).map(nameOf), stale: known.filter(isStale).map(nameOf) };
  const changes = await sallyport.access.compareRules();
  const rules = changes.map(({ kind, name, change, widens }) => ({ kind, name, change, widens }));
  const { json, lines } = migrated({ migrations: [], ...names, rules }, upToDate);
  const told = rules.length + names.added.length > 0 ? lines.slice(1) : lines;
  return {
    json: { dryRun: true, ...json },
    lines: ["Dry run, nothing has changed. Without --dry-run:", ...told],
  };
}

const isNew = ({ isStored }: PermissionInfo) => !isStored;
const isStale = ({ isDeclared }: PermissionInfo) => !isDeclared;
const nameOf = ({ name }: PermissionInfo) => name;

async function prune(sallyport: Sallyport, names: readonly string[]): Promise<ChangeCommand> {
  const stale = (await sallyport.access.permissions()).filter(isStale).map(nameOf);
  for (const name of names) refuseUnstale(sallyport, name, stale);
  const pruned = names.length > 0 ? names : stale;
  return {
    change: { kind: "prune-permissions", permissions: pruned },
    done: `Removed with every grant of them: ${pruned.join(", ")}`,
    already: "Nothing is stale: every permission in the database is declared.",
  };
}

function refuseUnstale(sallyport: Sallyport, name: string, stale: readonly string[]): void {
  if (stale.includes(name)) return;
  const why = sallyport.permissions.find(name)
    ? `${name} is declared in code. Remove it from definePermissions() first.`
    : `There is no stale permission ${quoted(name)}.${closestMatch(name, stale)}`;
  throw new ConfigurationError(why, { code: "SALLYPORT_UNKNOWN_NAME" });
}

async function diff(sallyport: Sallyport): Promise<Report> {
  const changes = await sallyport.access.compareRules();
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
    lines: lines.length > 0 ? lines : ["The rules are those of the running code."],
    code: widens ? 1 : 0,
  };
}

function changeLines(change: RuleChange, { name }: Names): readonly string[] {
  const { before, after, gains, loses } = change;
  const rows = [
    ...gains.map((user) => `  gains  ${name(user)}`),
    ...loses.map((user) => `  loses  ${name(user)}`),
  ];
  return [
    `${change.widens ? "WIDENS  " : ""}${change.kind} ${change.name}: ${change.change}`,
    ...(before ? [`  before  ${ruleWords(before, before.asksData)}`] : []),
    ...(after ? [`  after   ${ruleWords(after, after.asksData)}`] : []),
    ...first(rows),
  ];
}
