import { Argument, type Command, Option } from "commander";
import type { UserDetails } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { PERMISSION, rowCount, USER } from "./arguments.ts";
import { type ChangeCommand, changing, ending, type GrantFormat, granting } from "./change.ts";
import { describeUser, findUser, namesOf, stateOf, unknownUserLines } from "./find-user.ts";
import { findGroup } from "./groups.ts";
import { formatEnd } from "./instants.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, first, MAX_ROWS } from "./table.ts";
import type { Terminal } from "./terminal.ts";
import { addUserAccess } from "./users-access.ts";

interface ListFormat extends Format {
  readonly state?: "active" | "inactive";
  readonly superusers?: boolean;
  readonly group?: string;
  readonly permission?: string;
  readonly after?: string;
  readonly limit: number;
}

/**
 * Adds `users list`, `grant`, `revoke`, `activate`, `deactivate`, `superuser`, `delete`, `show` and
 * `access`.
 */
export function addUsers(program: Command, terminal: Terminal): void {
  const users = program.command("users").description("Manage and show the access of users");
  const command = (name: string, description: string) =>
    users
      .command(name)
      .description(description)
      .argument(...USER);

  reporting<ListFormat>(
    users
      .command("list")
      .description("List the users in the database, ordered by id")
      .addOption(new Option("--state <state>", "only users in this state").choices(["active", "inactive"]))
      .option("--superusers", "only superusers")
      .option("--group <group>", "only members of this group")
      .option("--permission <permission>", "only users who have this permission, including superusers")
      .option("--after <id>", "only ids after this one, for the next page")
      .option("--limit <number>", "the maximum number of users, at most 1000", rowCount, MAX_ROWS),
    terminal,
    list,
  );
  granting(command("grant", "Grant a permission to a user").argument(...PERMISSION), terminal, grant);
  changing(
    command("revoke", "Revoke a permission from a user, and close connections that depend on it").argument(
      ...PERMISSION,
    ),
    terminal,
    revoke,
  );
  changing(command("activate", "Activate a user that was deactivated"), terminal, (sallyport, [user = ""]) =>
    setActive(sallyport, user, true),
  );
  changing(
    command("deactivate", "Deactivate a user: deny all access and close every connection"),
    terminal,
    (sallyport, [user = ""]) => setActive(sallyport, user, false),
  );
  changing(
    command("superuser", "Set whether a user passes every permission rule").addArgument(
      new Argument("<state>", "whether the user passes every rule").choices(["on", "off"]),
    ),
    terminal,
    setSuperuser,
  );
  changing(
    command("delete", "Delete a user with all grants, close every connection and invalidate unused tokens"),
    terminal,
    deleteUser,
  );
  reporting(
    command("show", "Show the groups and permissions of a user, and the source of each"),
    terminal,
    (sallyport, _options, [user = ""]) => show(sallyport, user),
  );
  addUserAccess(users, terminal);
}

async function list(sallyport: Sallyport, options: ListFormat): Promise<Report> {
  const { state, superusers, group, permission, after, limit } = options;
  const filter = {
    active: state === undefined ? undefined : state === "active",
    superuser: superusers,
    group: group === undefined ? undefined : await findGroup(sallyport, group),
    permission: permission === undefined ? undefined : sallyport.permissions.parse(permission),
  };
  const found = await sallyport.access.users.list({ ...filter, after, limit });
  const names = await namesOf(
    sallyport,
    found.map(({ id }) => id),
  );
  const json = found.map((user) => ({ label: names.label(user.id), ...user }));
  if (found.length === 0) return { json, lines: ["There is no such user."] };
  const last = found.at(-1)?.id ?? "";
  const [next] = await sallyport.access.users.list({ ...filter, after: last, limit: 1 });
  const lines = aligned(
    found.map((user) => [
      names.name(user.id),
      stateOf(user),
      user.groups.join(", ") || "in no group",
      user.grants === 1 ? "1 grant" : `${user.grants} grants`,
    ]),
  );
  return { json, lines: next ? [...lines, `There are more users: --after ${last} shows the next.`] : lines };
}

async function grant(
  sallyport: Sallyport,
  [user = "", text = ""]: readonly string[],
  { until }: GrantFormat,
): Promise<ChangeCommand> {
  const permission = sallyport.permissions.parse(text);
  const holder = await findUser(sallyport, user);
  const name = await describeUser(sallyport, holder);
  return {
    change: { kind: "grant", holder, permission, ...ending(until) },
    done: `${name} now has ${permission}${formatEnd(until)}.`,
    already: `${name} already has ${permission}${formatEnd(until)}.`,
    notes: async () =>
      (await sallyport.access.users.get(holder))?.isActive === false
        ? ["This user is inactive, and has no permission until you run users activate."]
        : [],
  };
}

async function revoke(
  sallyport: Sallyport,
  [user = "", text = ""]: readonly string[],
): Promise<ChangeCommand> {
  const permission = sallyport.permissions.parse(text);
  const holder = await findUser(sallyport, user);
  const name = await describeUser(sallyport, holder);
  return {
    change: { kind: "revoke", holder, permission },
    done: `${name} no longer has ${permission} directly.`,
    already: `${name} did not have ${permission} directly.`,
    notes: async () => stillHeld(await sallyport.access.users.get(holder), permission),
  };
}

/** Returns the reasons why a user still has a permission. */
function stillHeld(details: UserDetails | undefined, permission: string): readonly string[] {
  const groups = (details?.grants ?? []).flatMap((grant) =>
    grant.permission === permission && grant.via !== "direct" ? [grant.via.group] : [],
  );
  return [
    ...(details?.isSuperuser ? ["As a superuser, this user still has every permission."] : []),
    ...groups.map((group) => `It is still held through the group "${group}".`),
  ];
}

async function setActive(sallyport: Sallyport, text: string, active: boolean): Promise<ChangeCommand> {
  const user = await findUser(sallyport, text);
  const name = await describeUser(sallyport, user);
  const state = active ? "active" : "inactive";
  return {
    change: { kind: "set-active", user, active },
    done: `${name} is now ${state}.`,
    already: `${name} is already ${state}.`,
  };
}

async function setSuperuser(
  sallyport: Sallyport,
  [text = "", state]: readonly string[],
): Promise<ChangeCommand> {
  const user = await findUser(sallyport, text);
  const name = await describeUser(sallyport, user);
  const superuser = state === "on";
  return {
    change: { kind: "set-superuser", user, superuser },
    done: superuser ? `${name} is now a superuser.` : `${name} is no longer a superuser.`,
    already: superuser ? `${name} is already a superuser.` : `${name} was not a superuser.`,
  };
}

async function deleteUser(sallyport: Sallyport, [text = ""]: readonly string[]): Promise<ChangeCommand> {
  const user = await findUser(sallyport, text);
  const name = await describeUser(sallyport, user);
  return {
    change: { kind: "delete-user", user },
    done: `${name} is deleted, with all grants and memberships.`,
    already: `There was nothing to delete for ${name}.`,
  };
}

async function show(sallyport: Sallyport, text: string): Promise<Report> {
  const id = await findUser(sallyport, text);
  const stored = await sallyport.access.users.get(id);
  const details = stored ?? { id, isActive: true, isSuperuser: false, groups: [], grants: [] };
  const names = await namesOf(sallyport, [id]);
  const unknown = stored ? [] : await unknownUserLines(sallyport, id);
  const lines = [
    ...(unknown.length > 0 ? unknown : [`${names.name(id)}: ${stateOf(details)}`]),
    `groups: ${details.groups.map(({ name, until }) => `${name}${formatEnd(until)}`).join(", ") || "none"}`,
    ...first(grantLines(details)),
  ];
  return { json: { label: names.label(id), ...details }, lines };
}

function grantLines({ grants, isSuperuser }: UserDetails): readonly string[] {
  if (grants.length === 0) return [isSuperuser ? "  every permission" : "  no permissions"];
  return aligned(
    grants.map(({ permission, via, until }) => {
      const source = via === "direct" ? "direct" : `group "${via.group}"`;
      return [`  ${permission}`, until === null ? source : `${source},${formatEnd(until)}`];
    }),
  );
}
