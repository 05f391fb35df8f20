import type { Expression, Kysely, RawBuilder } from "kysely";
import { type Flag, parseList, type Tables } from "../storage/database.ts";

/**
 * Rights that a statement brings along: an expression that lists a user's grants of now, each as permission, group
 * and end. Read it with {@link rightsFrom}.
 *
 * @param only the permissions that will be asked about; others are left out
 */
export type RightsOf = (
  db: Kysely<Tables>,
  userId: Expression<string | null>,
  only?: readonly string[],
) => RawBuilder<unknown>;

/** A grant that holds: directly, or through a group. */
export interface HeldGrant {
  readonly permission: string;
  /** null: given to the user directly. */
  readonly group: string | null;
  /** Epoch milliseconds at which it ends by itself; null for never. */
  readonly until: number | null;
}

/** A user's state and rights as one statement read them. */
export interface ReadRights {
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  readonly permissions: readonly string[];
  /** Where each of them comes from. */
  readonly grants: readonly HeldGrant[];
}

/** Columns of a statement that brought rights along. */
export interface RightsColumns {
  readonly is_active: Flag | null;
  readonly is_superuser: Flag | null;
  readonly grants: unknown;
}

/**
 * The {@link RightsColumns} of a user, for the RETURNING of a statement that writes and so cannot join.
 *
 * @param userId where the statement's row has the user's id
 */
export function rightsColumns(db: Kysely<Tables>, userId: Expression<string | null>, heldBy: RightsOf) {
  const of = (column: "is_active" | "is_superuser") =>
    db
      .selectFrom("sallyport_users as u")
      .select(`u.${column}`)
      .where("u.id", "=", userId as Expression<string>);
  return [
    of("is_active").as("is_active"),
    of("is_superuser").as("is_superuser"),
    heldBy(db, userId).as("grants"),
  ] as const;
}

/** Lists of grants that a page has read already: users of one group share theirs. */
export type KnownGrants = Map<unknown, Pick<ReadRights, "permissions" | "grants">>;

/** @param known filled here; rows with the same grants get the same lists */
export function rightsFrom(row: RightsColumns, known?: KnownGrants): ReadRights {
  let listed = known?.get(row.grants);
  if (!listed) {
    listed = grantsFrom(row.grants);
    known?.set(row.grants, listed);
  }
  return {
    // A user whose row is gone is nobody any more.
    isActive: row.is_active === 1,
    isSuperuser: row.is_superuser === 1,
    permissions: listed.permissions,
    grants: listed.grants,
  };
}

function grantsFrom(column: unknown): Pick<ReadRights, "permissions" | "grants"> {
  const rows = parseList<[permission: string, group: string | null, until: number | null]>(column);
  return {
    permissions: rows.map(([permission]) => permission),
    grants: rows.map(([permission, group, until]) => ({ permission, group, until })),
  };
}
