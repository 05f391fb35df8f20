import type { Expression, Kysely, RawBuilder, SqlBool } from "kysely";
import { changesRecorded, type Database, type Flag, parseList, type Tables } from "../database.ts";

/**
 * Rights that a statement brings along: an expression that lists a user's grants of now, each as permission, group
 * and end. Read it with {@link permissionsFrom}.
 *
 * @param only the permissions that will be asked about; others are left out
 */
export type EffectivePermissionsQuery = (
  db: Kysely<Tables>,
  userId: Expression<string | null>,
  only?: readonly string[],
) => RawBuilder<unknown>;

/** A grant that holds: directly, or through a group. */
export interface EffectiveGrant {
  readonly permission: string;
  /** null: given to the user directly. */
  readonly group: string | null;
  /** Epoch milliseconds at which it ends by itself; null for never. */
  readonly until: number | null;
}

/** A user's state and rights as one statement read them. */
export interface EffectivePermissions {
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  readonly permissions: readonly string[];
  /** Where each of them comes from. */
  readonly grants: readonly EffectiveGrant[];
}

/** Columns of a statement that brought rights along. */
export interface PermissionColumns {
  readonly is_active: Flag | null;
  readonly is_superuser: Flag | null;
  readonly grants: unknown;
}

/**
 * The {@link PermissionColumns} of a user, for the RETURNING of a statement that writes and so cannot join.
 *
 * @param userId where the statement's row has the user's id
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
 * What lists of grants read before mean, by what the database said: the same words always mean the same, and users of one group
 * share theirs. No right is remembered here, only how a list is spelled.
 */
export class KnownGrants {
  readonly #lists = new Map<unknown, Pick<EffectivePermissions, "permissions" | "grants">>();

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

const MAX_KNOWN = 1000;

/** @param known filled here; rows with the same grants get the same lists */
export function permissionsFrom(row: PermissionColumns, known?: KnownGrants): EffectivePermissions {
  const listed = known ? known.of(row.grants) : grantsFrom(row.grants);
  return {
    // A user whose row is gone is nobody any more.
    isActive: row.is_active === 1,
    isSuperuser: row.is_superuser === 1,
    permissions: listed.permissions,
    grants: listed.grants,
  };
}

function grantsFrom(column: unknown): Pick<EffectivePermissions, "permissions" | "grants"> {
  const rows = parseList<[permission: string, group: string | null, until: number | null]>(column);
  // Whoever has the same list shares it.
  return {
    permissions: Object.freeze(rows.map(([permission]) => permission)),
    grants: Object.freeze(
      rows.map(([permission, group, until]) => Object.freeze({ permission, group, until })),
    ),
  };
}

/** When the first of the grants ends, in epoch milliseconds. null: none of them ends. If the grants are not known, 0. */
export function firstEnd({ grants }: { readonly grants?: readonly EffectiveGrant[] }): number | null {
  if (!grants) return 0;
  const ends = grants.flatMap(({ until }) => (until === null ? [] : [until]));
  return ends.length === 0 ? null : Math.min(...ends);
}

/** Later than any grant ends, in epoch milliseconds. */
export const NEVER = Number.MAX_SAFE_INTEGER;

/**
 * Returns the SQL conditions under which permissions that were read before still hold.
 *
 * @param since number of the last change before they were read
 * @param validUntil when the first of the grants ends, in epoch milliseconds, or {@link NEVER}
 */
export function unchangedSince(
  { db, now, sql }: Database,
  since: Expression<number>,
  validUntil: Expression<number>,
): readonly Expression<SqlBool>[] {
  return [sql<boolean>`coalesce(${changesRecorded(db)}, 0) = ${since}`, sql<boolean>`${now} < ${validUntil}`];
}
