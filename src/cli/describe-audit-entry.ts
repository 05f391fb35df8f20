import type { AuditEntry } from "../index.ts";
import type { Names } from "./find-user.ts";
import { formatEnd } from "./instants.ts";

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
      return `pruned ${formatDetail(details.permissions)}`;
    case "end-session":
      return `ended the session ${formatDetail(details.session)}`;
    case "recheck":
      return `rechecked every authorize for ${user === null ? formatDetail(details.channel) : holder}`;
    case "close-connections":
      return `closed ${closedOf(entry, holder)}`;
    case "clear-limits":
      return `cleared ${formatDetail(details.cleared)} limits of ${clearedOf(entry, holder)}`;
    case "rules-changed":
      return `stored changed rules: ${formatDetail(details.rules)}`;
    case "expired":
      return permission === null
        ? `${holder} was in the group "${group}"${until}`
        : `${holder} had ${permission}${until}`;
    case "provision":
      return `ran gateway ${formatDetail(details.run)} for "${formatDetail(details.gateway)}": ${formatDetail(details.steps)}`;
    default:
      return `${entry.action as string} ${formatDetail(details)}`;
  }
}

function closedOf({ user, details }: AuditEntry, holder: string): string {
  const audience = (details.audience ?? {}) as Record<string, unknown>;
  if ("user" in audience) return `the connections of ${holder}`;
  const owner = user === null ? "" : `, which belonged to ${holder}`;
  return `the connections of ${formatDetail(details.audience)}${owner}`;
}

function clearedOf({ user, details }: AuditEntry, holder: string): string {
  if (user !== null) return holder;
  return details.address === undefined ? "everyone" : formatDetail(details.address);
}

function formatDetail(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
