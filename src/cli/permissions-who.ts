import type { Command } from "commander";
import type { UserWithPermission } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { PERMISSION } from "./arguments.ts";
import { source } from "./describe-rule.ts";
import { namesOf } from "./find-user.ts";
import { formatEnd } from "./instants.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, first, MAX_ROWS } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** Adds `permissions who`, which lists the users who have a permission now. */
export function addPermissionHolders(permissions: Command, terminal: Terminal): void {
  const command = permissions
    .command("who")
    .description("List the active users who have a permission now, and the source of it")
    .argument(...PERMISSION);
  reporting(command, terminal, permissionHolders);
}

async function permissionHolders(
  sallyport: Sallyport,
  options: Format,
  [text = ""]: readonly string[],
): Promise<Report> {
  const permission = sallyport.permissions.parse(text);
  const holders = await sallyport.access.permissions.holders(permission);
  const printed = options.json ? holders : holders.slice(0, MAX_ROWS);
  const names = await namesOf(
    sallyport,
    printed.map(({ user }) => user),
  );
  const rows = aligned(printed.map((holder) => [names.name(holder.user), sources(holder)]));
  return {
    json: printed.map((holder) => ({ ...holder, label: names.label(holder.user) })),
    lines: holders.length === 0 ? [`No user has ${permission}.`] : first(rows, holders.length),
  };
}

function sources({ isSuperuser, grants }: UserWithPermission): string {
  const from = grants.map(({ group, until }) => `${source(group)}${formatEnd(until)}`);
  return [...(isSuperuser ? ["superuser"] : []), ...from].join(", ");
}
