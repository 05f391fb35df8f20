import { Argument, type Command, Option } from "commander";
import type { UserDetails } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { PERMISSION, rowCount, USER } from "./arguments.ts";
import { type ChangeCommand, changing, ending, type GrantFormat, granting } from "./change.ts";
import { describeUser, findUser, namesOf } from "./find-user.ts";
import { findGroup } from "./groups.ts";
import { shownEnd } from "./instants.ts";
import { type Format, type Report, reporting } from "./report.ts";
import { aligned, first, MAX_ROWS } from "./table.ts";
import type { Terminal } from "./terminal.ts";

interface ListFormat extends Format {
  readonly state?: "active" | "inactive";
  readonly superusers?: boolean;
  readonly group?: string;
  readonly permission?: string;
  readonly after?: string;
  readonly limit: number;
}

/** `users list | grant | revoke | activate | deactivate | superuser | delete | show`. */
export function addUsers(program: Command, terminal: Terminal): void {
  const users = program.command("users").description("Give, take and show users' rights");
  const command = (name: string, description: string) =>
    users
      .command(name)
      .description(description)
      .argument(...USER);

  reporting<ListFormat>(
    users
      .command("list")
      .description("List users that are known here, in the order of their ids")
      .addOption(new Option("--state <state>", "only these").choices(["active", "inactive"]))
      .option("--superusers", "only superusers")
      .option("--group <group>", "only members of this group")
      .option("--permission <permission>", "only those who have this permission, superusers included")
      .option("--after <id>", "only ids after this one, for the next page")
      .option("--limit <number>", "at most so many, 1000 being the most", rowCount, MAX_ROWS),
    terminal,
    list,
  );
  granting(command("grant", "Give a user a permission").argument(...PERMISSION), terminal, grant);
  changing(
    command("revoke", "Take a permission from a user; sockets that rested on it end at once").argument(
      ...PERMISSION,
    ),
    terminal,
    revoke,
  );
  changing(
    command("activate", "Let a user in again who was made inactive"),
    terminal,
    (sallyport, [user = ""]) => setActive(sallyport, user, true),
  );
  changing(
    command("deactivate", "Keep a user out of everything; every socket closes"),
    terminal,
    (sallyport, [user = ""]) => setActive(sallyport, user, false),
  );
  changing(
    command("superuser", "Let a user pass every permission rule, or no longer").addArgument(
      new Argument("<state>", "whether every rule is passed").choices(["on", "off"]),
    ),
    terminal,
    setSuperuser,
  );
  changing(
    command("delete", "Forget a user with all rights; every socket closes, unused tokens die"),
    terminal,
    forget,
  );
  reporting(
    command("show", "Show a user's groups and rights, and where each comes from"),
    terminal,
    (sallyport, _options, [user = ""]) => show(sallyport, user),
  );
}

async function list(sallyport: Sallyport, options: ListFormat): Promise<Report> {
  const { state, superusers, group, permission, after, limit } = options;
  const filter = {
    active: state === undefined ? undefined : state === "active",
    superuser: superusers,
    group: group === undefined ? undefined : await findGroup(sallyport, group),
    permission: permission === undefined ? undefined : sallyport.permissions.parse(permission),
  };
  const found = await sallyport.access.listUsers({ ...filter, after, limit });
  const names = await namesOf(
    sallyport,
    found.map(({ id }) => id),
  );
  const json = found.map((user) => ({ label: names.label(user.id), ...user }));
  if (found.length === 0) return { json, lines: ["There is no such user."] };
  const last = found.at(-1)?.id ?? "";
  const [next] = await sallyport.access.listUsers({ ...filter, after: last, limit: 1 });
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
    done: `${name} now has ${permission}${shownEnd(until)}.`,
    already: `${name} already has ${permission}${shownEnd(until)}.`,
    notes: async () =>
      (await sallyport.access.show(holder))?.isActive === false
        ? ["This user is inactive, and has no permission before users activate."]
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
    notes: async () => stillHeld(await sallyport.access.show(holder), permission),
  };
}

/** Why a user has a permission even so. */
function stillHeld(rights: UserDetails | undefined, permission: string): readonly string[] {
  const groups = (rights?.grants ?? []).flatMap((grant) =>
    grant.permission === permission && grant.via !== "direct" ? [grant.via.group] : [],
  );
  return [
    ...(rights?.isSuperuser ? ["As a superuser, this user still has every permission."] : []),
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
    already: superuser ? `${name} is already a superuser.` : `${name} was no superuser.`,
  };
}

async function forget(sallyport: Sallyport, [text = ""]: readonly string[]): Promise<ChangeCommand> {
  const user = await findUser(sallyport, text);
  const name = await describeUser(sallyport, user);
  return {
    change: { kind: "delete-user", user },
    done: `${name} is forgotten, with all rights.`,
    already: `Nothing was known of ${name}.`,
  };
}

async function show(sallyport: Sallyport, text: string): Promise<Report> {
  const id = await findUser(sallyport, text);
  const known = await sallyport.access.show(id);
  const rights = known ?? { id, isActive: true, isSuperuser: false, groups: [], grants: [] };
  const names = await namesOf(sallyport, [id]);
  const lines = [
    `${names.name(id)}: ${stateOf(rights)}`,
    `groups: ${rights.groups.map(({ name, until }) => `${name}${shownEnd(until)}`).join(", ") || "none"}`,
    ...first(grantLines(rights)),
  ];
  return { json: { label: names.label(id), ...rights }, lines };
}

function grantLines({ grants, isSuperuser }: UserDetails): readonly string[] {
  if (grants.length === 0) return [isSuperuser ? "  every permission" : "  no permissions"];
  return aligned(
    grants.map(({ permission, via, until }) => {
      const source = via === "direct" ? "direct" : `group "${via.group}"`;
      return [`  ${permission}`, until === null ? source : `${source},${shownEnd(until)}`];
    }),
  );
}

/** `active, superuser`. */
export function stateOf(user: { readonly isActive: boolean; readonly isSuperuser: boolean }): string {
  return [user.isActive ? "active" : "inactive", ...(user.isSuperuser ? ["superuser"] : [])].join(", ");
}
