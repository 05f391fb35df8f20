import type { Expression, Kysely, RawBuilder, SqlBool } from "kysely";
import { changesRecorded, type Database, type Flag, parseList, type Tables } from "../database.ts";
import type { EffectiveGrant, EffectivePermissions } from "../stores/users.ts";

/**
 * Returns an SQL expression that lists the effective grants of a user, for use in another
 * statement. Each grant is a permission, a group and an end. Read it with {@link permissionsFrom}.
 *
 * @param only the permissions to include. Default: all
 */
export type EffectivePermissionsQuery = (
  db: Kysely<Tables>,
  userId: Expression<string | null>,
  only?: readonly string[],
) => RawBuilder<unknown>;

/** The columns of a statement that reads permissions. */
export interface PermissionColumns {
  readonly is_active: Flag | null;
  readonly is_superuser: Flag | null;
  readonly grants: unknown;
}

/**
 * Returns the {@link PermissionColumns} of a user for RETURNING, where a join is not possible.
 *
 * @param userId the column of the statement that contains the user id
 */
export function permissionColumns(
  db: Kysely<Tables>,
  userId: Expression<string | null>,
  grantsSubquery: EffectivePermissionsQuery,
) {
  const of = (column: "is_active" | "is_superuser") =>
    db
      .selectFrom("sallyport_users as u")
      .select(`u.${column}`)
      .where("u.id", "=", userId as Expression<string>);
  return [
    of("is_active").as("is_active"),
    of("is_superuser").as("is_superuser"),
    grantsSubquery(db, userId).as("grants"),
  ] as const;
}

/**
 * A cache of parsed lists of grants, by the text that the database returned. Users of the same
 * group often have equal lists. It does not cache permissions of users, only the parsed form of a
 * text.
 */
export class GrantsCache {
  readonly #lists = new Map<unknown, Pick<EffectivePermissions, "permissions" | "grants">>();

  /** Returns the parsed form of a list of grants. */
  of(column: unknown): Pick<EffectivePermissions, "permissions" | "grants"> {
    let listed = this.#lists.get(column);
    if (!listed) {
      listed = grantsFrom(column);
      this.#lists.set(column, listed);
      if (this.#lists.size > MAX_KNOWN) this.#lists.delete(this.#lists.keys().next().value);
    }
    return listed;
  }
}

/** The maximum number of cached lists. */
const MAX_KNOWN = 1000;

/**
 * Returns the state and the permissions of a row.
 *
 * @param known a cache. Rows with equal grants receive the same arrays
 */
export function permissionsFrom(row: PermissionColumns, known?: GrantsCache): EffectivePermissions {
  const listed = known ? known.of(row.grants) : grantsFrom(row.grants);
  return {
    // A user without a row is inactive and not a superuser.
    isActive: row.is_active === 1,
    isSuperuser: row.is_superuser === 1,
    permissions: listed.permissions,
    grants: listed.grants,
  };
}

function grantsFrom(column: unknown): Pick<EffectivePermissions, "permissions" | "grants"> {
  const rows = parseList<[permission: string, group: string | null, until: number | null]>(column);
  // Frozen, because rows with equal grants share the arrays.
  return {
    permissions: Object.freeze(rows.map(([permission]) => permission)),
    grants: Object.freeze(
      rows.map(([permission, group, until]) => Object.freeze({ permission, group, until })),
    ),
  };
}

/**
 * Returns when the first of the grants expires, in epoch milliseconds. Returns null if none
 * expires, and 0 if the grants are not known.
 */
export function firstExpiry({ grants }: { readonly grants?: readonly EffectiveGrant[] }): number | null {
  if (!grants) return 0;
  const ends = grants.flatMap(({ until }) => (until === null ? [] : [until]));
  return ends.length === 0 ? null : Math.min(...ends);
}

/** A time after the end of any grant, in epoch milliseconds. */
export const NEVER = Number.MAX_SAFE_INTEGER;

/**
 * Returns the SQL conditions under which previously read permissions are still valid.
 *
 * @param since number of the last change before they were read
 * @param validUntil when the first of the grants expires, in epoch milliseconds, or {@link NEVER}
 */
export function unchangedSince(
  { db, now, sql }: Database,
  since: Expression<number>,
  validUntil: Expression<number>,
): readonly Expression<SqlBool>[] {
  return [sql<boolean>`coalesce(${changesRecorded(db)}, 0) = ${since}`, sql<boolean>`${now} < ${validUntil}`];
}

/** Returns a subquery for the ids of users with a permission, directly or through a group. */
export function holdersSubquery(database: Database, db: Kysely<Tables>, permission: string) {
  const { now } = database;
  return db
    .selectFrom("sallyport_user_permissions as held")
    .select("held.user_id")
    .where("held.permission", "=", permission)
    .where((eb) => eb.or([eb("held.until_at", "is", null), eb("held.until_at", ">", now)]))
    .union(
      db
        .selectFrom("sallyport_group_permissions as held")
        .innerJoin("sallyport_user_groups as member", "member.group_name", "held.group_name")
        .select("member.user_id")
        .where("held.permission", "=", permission)
        .where((eb) => eb.or([eb("held.until_at", "is", null), eb("held.until_at", ">", now)]))
        .where((eb) => eb.or([eb("member.until_at", "is", null), eb("member.until_at", ">", now)])),
    );
}

/**
 * Returns an SQL expression that lists the direct grants and those through groups, each with its
 * source.
 */
export function effectiveGrants(
  database: Database,
  db: Kysely<Tables>,
  userId: Expression<string | null>,
  only?: readonly string[],
): RawBuilder<unknown> {
  if (only?.length === 0) return database.sql`'[]'`;
  const { now } = database;
  let direct = db
    .selectFrom("sallyport_user_permissions as held")
    .select(({ cast, lit }) => [
      "held.permission",
      cast<string | null>(lit(null), "text").as("via"),
      "held.until_at as until",
    ])
    .where((eb) => eb("held.user_id", "=", userId as Expression<string>))
    .where((eb) => eb.or([eb("held.until_at", "is", null), eb("held.until_at", ">", now)]));
  let throughGroups = db
    .selectFrom("sallyport_user_groups as member")
    .innerJoin("sallyport_group_permissions as held", "held.group_name", "member.group_name")
    .select((eb) => [
      "held.permission",
      "held.group_name as via",
      // The earlier of the two ends.
      eb
        .case()
        .when("member.until_at", "is", null)
        .then(eb.ref("held.until_at"))
        .when(eb.or([eb("held.until_at", "is", null), eb("member.until_at", "<", eb.ref("held.until_at"))]))
        .then(eb.ref("member.until_at"))
        .else(eb.ref("held.until_at"))
        .end()
        .as("until"),
    ])
    .where((eb) => eb("member.user_id", "=", userId as Expression<string>))
    .where((eb) => eb.or([eb("member.until_at", "is", null), eb("member.until_at", ">", now)]))
    .where((eb) => eb.or([eb("held.until_at", "is", null), eb("held.until_at", ">", now)]));
  if (only) {
    direct = direct.where("held.permission", "in", only);
    throughGroups = throughGroups.where("held.permission", "in", only);
  }
  return database.listOf(direct.unionAll(throughGroups), "permission", "via", "until");
}
