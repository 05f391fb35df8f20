import type { Command } from "commander";
import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { Sallyport } from "../sallyport.ts";
import { GROUP, PERMISSION, USER } from "./arguments.ts";
import { type ChangeCommand, changing, ending, type GrantFormat, granting } from "./change.ts";
import { describeUser, findUser } from "./find-user.ts";
import { formatEnd } from "./instants.ts";
import { type Report, reporting } from "./report.ts";
import { aligned, first } from "./table.ts";
import { quoted, type Terminal } from "./terminal.ts";

/** Adds `groups list`, `create`, `delete`, `grant`, `revoke`, `add` and `remove`. */
export function addGroups(program: Command, terminal: Terminal): void {
  const groups = program.command("groups").description("Manage groups, their permissions and their members");
  const command = (name: string, description: string) =>
    groups
      .command(name)
      .description(description)
      .argument(...GROUP);

  reporting(
    groups.command("list").description("List groups with their permissions and number of members"),
    terminal,
    list,
  );
  changing(command("create", "Create an empty group"), terminal, create);
  changing(command("delete", "Delete a group, its memberships and its grants"), terminal, remove);
  granting(
    command("grant", "Grant a permission to every member of a group").argument(...PERMISSION),
    terminal,
    grant,
  );
  changing(
    command("revoke", "Revoke a permission from a group, and close connections that depend on it").argument(
      ...PERMISSION,
    ),
    terminal,
    revoke,
  );
  granting(command("add", "Add a user to a group").argument(...USER), terminal, addMember);
  changing(
    command("remove", "Remove a user from a group, and close connections that depend on it").argument(
      ...USER,
    ),
    terminal,
    removeMember,
  );
}

/**
 * Returns the name of a group in the form that is stored (NFC).
 *
 * @throws ConfigurationError that suggests the closest match, if there is no such group
 */
export async function findGroup(sallyport: Sallyport, name: string): Promise<string> {
  const groups = (await sallyport.access.groups.list()).map((group) => group.name);
  const composed = name.normalize("NFC");
  if (groups.includes(composed)) return composed;
  throw new ConfigurationError(
    `There is no group ${quoted(name)}.${closestMatch(composed, groups)} To create it, run groups create.`,
    { code: "SALLYPORT_UNKNOWN_NAME" },
  );
}

async function list(sallyport: Sallyport): Promise<Report> {
  const groups = await sallyport.access.groups.list();
  if (groups.length === 0) return { json: groups, lines: ["There are no groups."] };
  const rows = groups.map(({ name, members, permissions }) => [
    name,
    members === 1 ? "1 member" : `${members} members`,
    permissions.map((held) => `${held.name}${formatEnd(held.until)}`).join(", ") || "no permissions",
  ]);
  return { json: groups, lines: first(aligned(rows)) };
}

async function create(_sallyport: Sallyport, [name = ""]: readonly string[]): Promise<ChangeCommand> {
  const group = name.normalize("NFC");
  return {
    change: { kind: "create-group", group },
    done: `There is now a group "${group}".`,
    already: `There is already a group "${group}".`,
  };
}

async function remove(sallyport: Sallyport, [text = ""]: readonly string[]): Promise<ChangeCommand> {
  const group = await findGroup(sallyport, text);
  return {
    change: { kind: "delete-group", group },
    done: `The group "${group}" is deleted, with its memberships and grants.`,
    already: `There was no group "${group}".`,
  };
}

async function grant(
  sallyport: Sallyport,
  [name = "", text = ""]: readonly string[],
  { until }: GrantFormat,
): Promise<ChangeCommand> {
  const permission = sallyport.permissions.parse(text);
  const group = await findGroup(sallyport, name);
  return {
    change: { kind: "grant", holder: { group }, permission, ...ending(until) },
    done: `The group "${group}" now has ${permission}${formatEnd(until)}.`,
    already: `The group "${group}" already has ${permission}${formatEnd(until)}.`,
  };
}

async function revoke(
  sallyport: Sallyport,
  [name = "", text = ""]: readonly string[],
): Promise<ChangeCommand> {
  const permission = sallyport.permissions.parse(text);
  const group = await findGroup(sallyport, name);
  return {
    change: { kind: "revoke", holder: { group }, permission },
    done: `The group "${group}" no longer has ${permission}.`,
    already: `The group "${group}" did not have ${permission}.`,
  };
}

async function addMember(
  sallyport: Sallyport,
  [name = "", text = ""]: readonly string[],
  { until }: GrantFormat,
): Promise<ChangeCommand> {
  const group = await findGroup(sallyport, name);
  const user = await findUser(sallyport, text);
  const label = await describeUser(sallyport, user);
  return {
    change: { kind: "add-to-group", user, group, ...ending(until) },
    done: `${label} is now in the group "${group}"${formatEnd(until)}.`,
    already: `${label} is already in the group "${group}"${formatEnd(until)}.`,
  };
}

async function removeMember(
  sallyport: Sallyport,
  [name = "", text = ""]: readonly string[],
): Promise<ChangeCommand> {
  const group = await findGroup(sallyport, name);
  const user = await findUser(sallyport, text);
  const label = await describeUser(sallyport, user);
  return {
    change: { kind: "remove-from-group", user, group },
    done: `${label} is no longer in the group "${group}".`,
    already: `${label} was not in the group "${group}".`,
  };
}
