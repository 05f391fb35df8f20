import { ConfigurationError } from "../../errors.ts";
import { INTERNAL } from "../../internal.ts";
import type { Sallyport } from "../../sallyport.ts";
import { type DjangoDatabase, quoteName } from "./database.ts";
import type { AuthLayout, UserLinks } from "./layout.ts";
import { type Converted, groupOf, type NameCheck, permissionOf } from "./names.ts";
import { PAGE, pagesOf } from "./pages.ts";
import type { Kind, Tally } from "./tally.ts";
import { UserImport, type UserImportOptions } from "./users.ts";

/** The maximum number of groups and of permissions. They are kept in memory. */
const MAX_NAMES = 100_000;

/** The name of a group or a permission of Django in Sallyport. `value` is undefined if it was skipped. */
interface Named {
  readonly value: string | undefined;
  readonly label: string;
}
type Names = ReadonlyMap<string, Named>;

/** What an import reads, what it writes to, and how. */
export interface ImportContext extends UserImportOptions {
  readonly sallyport: Sallyport;
  readonly database: DjangoDatabase;
  readonly layout: AuthLayout;
  readonly tally: Tally;
}

/**
 * Imports permissions, groups, users, memberships and grants in this order, in pages.
 *
 * An interrupted import has written complete pages. The next one writes the others.
 */
export async function importAuth(context: ImportContext): Promise<void> {
  const { layout } = context;
  const permissions = await readPermissions(context);
  const groups = await importGroups(context);
  const users = await UserImport.open(context);
  await users.run();
  await importGroupGrants(context, groups, permissions);
  if (layout.memberships) {
    await importLinks(context, users, layout.memberships, {
      kind: "memberships",
      what: "group",
      names: groups,
      rows: (pairs) => ({ memberships: pairs.map(([user, group]) => ({ user, group })) }),
    });
  }
  if (layout.userPermissions) {
    await importLinks(context, users, layout.userPermissions, {
      kind: "user grants",
      what: "permission",
      names: permissions,
      rows: (pairs) => ({ grants: pairs.map(([holder, permission]) => ({ holder, permission })) }),
    });
  }
}

/** Writes a page, or reads what it would write. @returns the number of added rows */
async function write(
  { sallyport, isApplied, by, reason }: ImportContext,
  rows: Parameters<Sallyport[typeof INTERNAL]["imports"]["add"]>[0],
): Promise<number> {
  const { imports } = sallyport[INTERNAL];
  const added = await (isApplied ? imports.add(rows, { by, reason }) : imports.missing(rows));
  return added.users.length + added.groups.length + added.memberships.length + added.grants.length;
}

async function writeAndCount(
  context: ImportContext,
  kind: Kind,
  count: number,
  rows: Parameters<typeof write>[1],
): Promise<void> {
  if (count === 0) return;
  const added = await write(context, rows);
  context.tally.count(kind, "added", added);
  context.tally.count(kind, "kept", count - added);
}

/** Returns the check of names of the app. */
function nameCheck(sallyport: Sallyport): NameCheck {
  return (text, maxLength) => sallyport[INTERNAL].imports.reasonAgainst(text, maxLength);
}

/** Compares the permissions of Django with those that the app declares. */
async function readPermissions({ sallyport, database, tally }: ImportContext): Promise<Names> {
  const check = nameCheck(sallyport);
  const names = new Map<string, Named>();
  const used = new Set<string>();
  const stored = new Set(
    (await sallyport.access.permissions.list()).filter(({ isStored }) => isStored).map(({ name }) => name),
  );
  const pages = pagesOf(database, {
    values: { app: "c.app_label", codename: "t.codename" },
    from: "auth_permission as t left join django_content_type as c on c.id = t.content_type_id",
    key: "id",
  });
  for await (const page of pages) {
    for (const { key, values } of page) {
      const { app = null, codename = null } = values;
      const label = `${app}.${codename}`;
      const named = permissionOf(app, codename, check);
      const value = named.value === undefined ? undefined : sallyport.permissions.find(named.value);
      names.set(key, { value, label });
      if (value === undefined) {
        tally.note("permissions", "skipped", skipReason(named), label);
        continue;
      }
      if (!stored.has(value)) throw notStored(value);
      if (used.has(value)) {
        tally.note(
          "permissions",
          "kept",
          "two models share the codename, and either grants it, as in Django",
          value,
        );
      } else tally.count("permissions", "kept");
      used.add(value);
    }
    checkSize(names.size, "permissions");
  }
  return names;
}

function skipReason(named: Converted): string {
  return named.value === undefined
    ? named.reason
    : "the app does not declare it. Declare it with definePermissions(), and import again";
}

function notStored(permission: string): ConfigurationError {
  return new ConfigurationError(
    `${permission} is declared, but not stored in the database, so it cannot be granted. Run: npx sallyport migrate`,
  );
}

function checkSize(size: number, what: string): void {
  if (size <= MAX_NAMES) return;
  throw new ConfigurationError(
    `The Django database has more than ${MAX_NAMES} ${what}, and import-django keeps their names in memory. Remove those that are not used.`,
  );
}

/** Imports groups. Two groups with names that become one are skipped, because their members would be merged. */
async function importGroups(context: ImportContext): Promise<Names> {
  const { sallyport, database, tally } = context;
  const check = nameCheck(sallyport);
  const converted: { readonly key: string; readonly text: string; readonly name: Converted }[] = [];
  for await (const page of pagesOf(database, {
    values: { name: "t.name" },
    from: "auth_group as t",
    key: "id",
  })) {
    for (const { key, values } of page) {
      const { name = null } = values;
      converted.push({ key, text: name ?? `group ${key}`, name: groupOf(name, check) });
    }
    checkSize(converted.length, "groups");
  }
  const uses = new Map<string, number>();
  for (const { name } of converted)
    if (name.value !== undefined) uses.set(name.value, (uses.get(name.value) ?? 0) + 1);
  const names = new Map<string, Named>();
  for (const { key, text, name } of converted) {
    const isShared = name.value !== undefined && (uses.get(name.value) ?? 0) > 1;
    names.set(key, { value: isShared ? undefined : name.value, label: text });
    if (name.value === undefined) tally.note("groups", "skipped", name.reason, text);
    else if (isShared) {
      tally.note(
        "groups",
        "skipped",
        `several names become ${JSON.stringify(name.value)}. Rename one in Django`,
        text,
      );
    } else if (name.renamed !== undefined) {
      tally.note("groups", "renamed", name.renamed, `${text} → ${name.value}`);
    }
  }
  const groups = [...names.values()].flatMap(({ value }) => value ?? []);
  for (let from = 0; from < groups.length; from += PAGE) {
    const page = groups.slice(from, from + PAGE);
    await writeAndCount(context, "groups", page.length, { groups: page });
  }
  return names;
}

async function importGroupGrants(context: ImportContext, groups: Names, permissions: Names): Promise<void> {
  const { database, tally } = context;
  const pages = pagesOf(database, {
    values: { group: "t.group_id", permission: "t.permission_id" },
    from: "auth_group_permissions as t",
    key: "id",
  });
  for await (const page of pages) {
    const grants: { readonly holder: { readonly group: string }; readonly permission: string }[] = [];
    for (const { values } of page) {
      const group = groups.get(values.group ?? "");
      const permission = permissions.get(values.permission ?? "");
      const label = `${group?.label ?? `group ${values.group}`}: ${permission?.label ?? `permission ${values.permission}`}`;
      if (group?.value === undefined) tally.note("group grants", "skipped", lost("group", group), label);
      else if (permission?.value === undefined) {
        tally.note("group grants", "skipped", lost("permission", permission), label);
      } else grants.push({ holder: { group: group.value }, permission: permission.value });
    }
    await writeAndCount(context, "group grants", grants.length, { grants });
  }
}

/** Returns why a row that refers to a skipped or missing row is skipped. */
function lost(what: string, named: Named | undefined): string {
  return named === undefined ? `its ${what} does not exist` : `its ${what} is skipped`;
}

/** Imports the groups or the permissions of users. */
async function importLinks(
  context: ImportContext,
  users: UserImport,
  { name: table, key, user, other }: UserLinks,
  {
    kind,
    what,
    names,
    rows,
  }: {
    readonly kind: Kind;
    readonly what: string;
    readonly names: Names;
    readonly rows: (pairs: readonly (readonly [string, string])[]) => Parameters<typeof write>[1];
  },
): Promise<void> {
  const { database, layout, tally } = context;
  const { name: userTable, key: userKey, id } = layout.users;
  const pages = pagesOf(database, {
    values: {
      row: `u.${quoteName(userKey)}`,
      user: `u.${quoteName(id.name)}`,
      other: `t.${quoteName(other)}`,
    },
    from: `${quoteName(table)} as t left join ${quoteName(userTable)} as u on u.${quoteName(userKey)} = t.${quoteName(user)}`,
    key,
  });
  for await (const page of pages) {
    const pairs: (readonly [string, string])[] = [];
    for (const { values } of page) {
      const named = names.get(values.other ?? "");
      const holder = users.convert(values.user ?? null);
      const label = `${values.user ?? "no user"}: ${named?.label ?? `${what} ${values.other}`}`;
      if (values.row === null) tally.note(kind, "skipped", "its user does not exist", label);
      else if (holder.value === undefined) tally.note(kind, "skipped", "its user is skipped", label);
      else if (named?.value === undefined) tally.note(kind, "skipped", lost(what, named), label);
      else pairs.push([holder.value, named.value]);
    }
    await writeAndCount(context, kind, pairs.length, rows(pairs));
  }
}
