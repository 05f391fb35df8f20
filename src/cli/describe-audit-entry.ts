import type { Audience, AuditEntry } from "../index.ts";
import { type RuleSummary, ruleChangeLines } from "./describe-rule.ts";
import type { Names } from "./find-user.ts";
import { formatEnd } from "./instants.ts";
import { first } from "./table.ts";

/**
 * Describes the change of an audit entry, such as
 * `granted chat.can_use_chat to ann@example.com (u1)`.
 */
export function describeAuditEntry(entry: AuditEntry, { name }: Names): string {
  const { user, group, permission, details } = entry;
  const holder = user === null ? `the group "${group}"` : name(user);
  const created = details.madeGroup === true ? ", and created that group" : "";
  const until = formatEnd(typeof details.until === "number" ? details.until : null);
  switch (entry.action) {
    case "grant":
      return `granted ${permission} to ${holder}${until}${created}`;
    case "revoke":
      return `revoked ${permission} from ${holder}`;
    case "add-to-group":
      return `added ${holder} to the group "${group}"${until}${created}`;
    case "remove-from-group":
      return `removed ${holder} from the group "${group}"`;
    case "create-group":
      return `created the group "${group}"`;
    case "delete-group":
      return `deleted the group "${group}"`;
    case "set-active":
      return `${details.active === true ? "activated" : "deactivated"} ${holder}`;
    case "set-superuser":
      return `set superuser of ${holder} to ${details.superuser === true ? "on" : "off"}`;
    case "delete-user":
      return `deleted ${holder}`;
    case "prune-permissions":
      return `pruned ${listOf(details.permissions).join(", ")}`;
    case "end-session":
      return `ended the session ${formatDetail(details.session)}`;
    case "recheck":
      return `rechecked every authorize for ${user === null ? `the channel "${formatDetail(details.channel)}"` : holder}`;
    case "close-connections":
      return `closed ${closedOf(entry, holder)}`;
    case "clear-limits":
      return `cleared ${counted(Number(details.cleared), "limit")} of ${clearedOf(entry, holder)}`;
    case "rules-changed":
      return `stored ${counted(listOf(details.rules).length, "changed rule")}`;
    case "expired":
      return permission === null
        ? `${holder} was in the group "${group}"${until}`
        : `${holder} had ${permission}${until}`;
    case "provision":
      return `ran gateway ${formatDetail(details.run)} for "${formatDetail(details.gateway)}"`;
    default:
      return `${entry.action as string} ${formatDetail(details)}`;
  }
}

/** Returns the lines below an entry: the changed rules, or the steps of a run of `gateway`. */
export function auditDetailLines({ action, details }: AuditEntry): readonly string[] {
  if (action === "rules-changed") return first(listOf(details.rules).filter(isRule).flatMap(ruleChangeLines));
  if (action !== "provision") return [];
  const unknown = listOf(details.perhaps).map(
    (step) => `result unknown, AWS may have applied it: ${formatDetail(step)}`,
  );
  return first([...listOf(details.steps).map(formatDetail), ...unknown]);
}

/** Entries of earlier versions contain no `before` and no `after`. */
function isRule(value: unknown): value is Parameters<typeof ruleChangeLines>[0] {
  const { kind, name, change } = (value ?? {}) as Partial<RuleSummary>;
  return [kind, name, change].every((text) => typeof text === "string");
}

function closedOf({ user, details }: AuditEntry, holder: string): string {
  const audience = details.audience as Audience | undefined;
  if (audience === "everyone") return "all connections";
  const owner = user === null ? "" : `, which belonged to ${holder}`;
  if (typeof audience !== "object" || audience === null) return `connections${owner}`;
  if ("user" in audience) return `the connections of ${holder}`;
  if ("channel" in audience) return `the connections in the channel "${audience.channel}"`;
  if ("permission" in audience) return `the connections of the users with ${audience.permission}`;
  if ("connection" in audience) return `the connection ${audience.connection}${owner}`;
  return `the connection with the connectionId ${audience.connectionId}${owner}`;
}

function counted(count: number, noun: string): string {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function clearedOf({ user, details }: AuditEntry, holder: string): string {
  if (user !== null) return holder;
  return details.address === undefined ? "everyone" : `the address ${formatDetail(details.address)}`;
}

function formatDetail(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
