import type { AuditEntry } from "../index.ts";
import type { Names } from "./find-user.ts";
import { shownEnd } from "./instants.ts";

/** What an entry of the audit tells, in words: `gave chat.can_use_chat to ann@example.com (u1)`. */
export function describeAuditEntry(entry: AuditEntry, { name }: Names): string {
  const { user, group, permission, details } = entry;
  const holder = user === null ? `the group "${group}"` : name(user);
  const made = details.madeGroup === true ? ", and made that group" : "";
  const until = shownEnd(typeof details.until === "number" ? details.until : null);
  switch (entry.action) {
    case "grant":
      return `gave ${permission} to ${holder}${until}${made}`;
    case "revoke":
      return `took ${permission} from ${holder}`;
    case "add-to-group":
      return `added ${holder} to the group "${group}"${until}${made}`;
    case "remove-from-group":
      return `removed ${holder} from the group "${group}"`;
    case "create-group":
      return `made the group "${group}"`;
    case "delete-group":
      return `removed the group "${group}"`;
    case "set-active":
      return `made ${holder} ${details.active === true ? "active" : "inactive"}`;
    case "set-superuser":
      return `made ${holder} ${details.superuser === true ? "a superuser" : "no superuser any more"}`;
    case "delete-user":
      return `forgot ${holder}`;
    case "prune-permissions":
      return `pruned ${formatDetail(details.permissions)}`;
    case "end-session":
      return `ended the login ${formatDetail(details.session)}`;
    case "recheck":
      return `asked every authorize again for ${user === null ? formatDetail(details.channel) : holder}`;
    case "close-sessions":
      return `closed ${closedOf(entry, holder)}`;
    case "clear-limits":
      return `cleared ${formatDetail(details.cleared)} limits of ${clearedOf(entry, holder)}`;
    case "rules-changed":
      return `recorded other rules: ${formatDetail(details.rules)}`;
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
  if ("user" in audience) return `the sockets of ${holder}`;
  const whose = user === null ? "" : `, which was ${holder}'s`;
  return `the sockets of ${formatDetail(details.audience)}${whose}`;
}

function clearedOf({ user, details }: AuditEntry, holder: string): string {
  if (user !== null) return holder;
  return details.address === undefined ? "everyone" : formatDetail(details.address);
}

function formatDetail(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
