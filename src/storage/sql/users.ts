import type { AliasableExpression, Expression, ExpressionBuilder, Kysely } from "kysely";
import { yieldToEventLoop } from "../../timing.ts";
import { type Database, parseList, type Tables } from "../database.ts";
import {
  type GroupDetails,
  type HolderKinds,
  type Subject,
  USER_PAGE,
  type UserDetails,
  type UserFilter,
  type UserSelector,
  type UserStore,
  type UserSummary,
} from "../stores/users.ts";
import {
  type EffectivePermissionsQuery,
  effectiveGrants,
  holdersSubquery,
  permissionsFrom,
} from "./effective-permissions.ts";

/**
 * Selects users in a transaction of another class.
 *
 * - `listed`: the users of a revocation
 * - `these`: the users with the given ids, at most {@link USER_PAGE}
 */
export type SqlUserSelector =
  | UserSelector
  | { readonly kind: "listed"; readonly revocationId: string }
  | { readonly kind: "these"; readonly ids: readonly string[] };

/** Reads users, groups and effective permissions. */
export class SqlUsers implements UserStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Returns an SQL expression that lists the effective grants of a user, for use in other
   * statements.
   */
  readonly grantsSubquery: EffectivePermissionsQuery = (db, userId, only) =>
    effectiveGrants(this.#database, db, userId, only);

  /** Returns a subquery for the ids of users with a permission, directly or through a group. */
  readonly holdersOf = (db: Kysely<Tables>, permission: string) =>
    holdersSubquery(this.#database, db, permission) as unknown as Expression<string>;

  /**
   * Returns a subquery for the ids of users with a grant of one of the permissions, expired or not.
   */
  everHolding(db: Kysely<Tables>, permissions: readonly string[]): AliasableExpression<{ user_id: string }> {
    return db
      .selectFrom("sallyport_user_permissions as held")
      .select("held.user_id")
      .where("held.permission", "in", permissions)
      .union(
        db
          .selectFrom("sallyport_group_permissions as held")
          .innerJoin("sallyport_user_groups as member", "member.group_name", "held.group_name")
          .select("member.user_id")
          .where("held.permission", "in", permissions),
      );
  }

  subject(userId: string): Promise<Subject> {
    return this.subjectIn(this.#database.db, userId);
  }

  /** Reads {@link subject} in a transaction. */
  async subjectIn(db: Kysely<Tables>, userId: string): Promise<Subject> {
    const [subject] = await this.subjectsIn(db, { kind: "user", userId }, "");
    return subject ?? { userId, isActive: false, isSuperuser: false, permissions: [], grants: [] };
  }

  /**
   * Returns a page of at most {@link USER_PAGE} users, ordered by id.
   *
   * @param after the last id of the previous page, `""` for the first page
   */
  async subjectsIn(
    db: Kysely<Tables>,
    selector: SqlUserSelector,
    after: string,
  ): Promise<readonly Subject[]> {
    let query = db
      .selectFrom("sallyport_users as u")
      .select((eb) => [
        "u.id",
        "u.is_active",
        "u.is_superuser",
        this.grantsSubquery(db, eb.ref("u.id")).as("grants"),
      ])
      .where("u.id", ">", after)
      .orderBy("u.id")
      .limit(USER_PAGE);
    if (selector.kind === "user") query = query.where("u.id", "=", selector.userId);
    if (selector.kind === "group") {
      const members = db
        .selectFrom("sallyport_user_groups as member")
        .select("member.user_id")
        .where("member.group_name", "=", selector.group);
      query = query.where("u.id", "in", members);
    }
    if (selector.kind === "these") query = query.where("u.id", "in", [...selector.ids, ""]);
    if (selector.kind === "listed") {
      const listed = db
        .selectFrom("sallyport_revocation_users as listed")
        .select("listed.user_id")
        .where("listed.revocation_id", "=", selector.revocationId);
      query = query.where("u.id", "in", listed);
    }
    if (selector.kind === "holders") {
      const { active = true, superusers = true } = selector;
      const holding = this.holdersOf(db, selector.permission);
      if (active !== "any") query = query.where("u.is_active", "=", active ? 1 : 0);
      query = superusers
        ? query.where((eb) => eb.or([eb("u.is_superuser", "=", 1), eb("u.id", "in", holding)]))
        : query.where("u.id", "in", holding).where("u.is_superuser", "=", 0);
    }
    const rows = await query.execute();
    return rows.map((row) => ({ userId: row.id, ...permissionsFrom(row) }));
  }

  pages(selector: UserSelector): AsyncIterable<readonly Subject[]> {
    return this.pagesIn(this.#database.db, selector);
  }

  /** Reads {@link pages} in a transaction. */
  async *pagesIn(db: Kysely<Tables>, selector: SqlUserSelector): AsyncGenerator<readonly Subject[]> {
    for (let after = ""; ; ) {
      const page = await this.subjectsIn(db, selector, after);
      yield page;
      await yieldToEventLoop();
      after = page.at(-1)?.userId ?? "";
      if (page.length < USER_PAGE) return;
    }
  }

  async holders(permission: string, options: HolderKinds = {}): Promise<readonly string[]> {
    const { active = true, superusers = true } = options;
    const { db } = this.#database;
    const holding = this.holdersOf(db, permission);
    let query = db
      .selectFrom("sallyport_users as u")
      .select("u.id")
      .where((eb) =>
        superusers
          ? eb.or([eb("u.is_superuser", "=", 1), eb("u.id", "in", holding)])
          : eb("u.id", "in", holding),
      )
      .orderBy("u.id");
    if (!superusers) query = query.where("u.is_superuser", "=", 0);
    if (active !== "any") query = query.where("u.is_active", "=", active ? 1 : 0);
    return (await query.execute()).map((row) => row.id);
  }

  async list(filter: UserFilter, limit: number): Promise<readonly UserSummary[]> {
    const { active, superuser, group, permission, after = "" } = filter;
    const { db } = this.#database;
    let query = db
      .selectFrom("sallyport_users as u")
      .select((eb) => [
        "u.id",
        "u.is_active",
        "u.is_superuser",
        this.grantsSubquery(db, eb.ref("u.id")).as("grants"),
        this.#database
          .listOf(
            eb
              .selectFrom("sallyport_user_groups as member")
              .select("member.group_name")
              .whereRef("member.user_id", "=", "u.id")
              .where((inner) => this.#isUnexpired(inner, "member.until_at"))
              .orderBy("member.group_name"),
            "group_name",
          )
          .as("groups"),
      ])
      .where("u.id", ">", after)
      .orderBy("u.id")
      .limit(limit);
    if (active !== undefined) query = query.where("u.is_active", "=", active ? 1 : 0);
    if (superuser !== undefined) query = query.where("u.is_superuser", "=", superuser ? 1 : 0);
    if (group !== undefined) {
      const members = db
        .selectFrom("sallyport_user_groups as joined")
        .select("joined.user_id")
        .where("joined.group_name", "=", group)
        .where((eb) => this.#isUnexpired(eb, "joined.until_at"));
      query = query.where("u.id", "in", members);
    }
    if (permission !== undefined) {
      const holding = this.holdersOf(db, permission);
      query = query.where((eb) => eb.or([eb("u.is_superuser", "=", 1), eb("u.id", "in", holding)]));
    }
    return (await query.execute()).map((row) => ({
      id: row.id,
      isActive: row.is_active === 1,
      isSuperuser: row.is_superuser === 1,
      groups: parseList(row.groups),
      grants: parseList(row.grants).length,
    }));
  }

  async groups(): Promise<readonly GroupDetails[]> {
    const { db } = this.#database;
    const rows = await db
      .selectFrom("sallyport_groups as g")
      .select((eb) => [
        "g.name",
        eb
          .selectFrom("sallyport_user_groups as member")
          .select(({ fn }) => fn.countAll<number>().as("count"))
          .whereRef("member.group_name", "=", "g.name")
          .where((inner) => this.#isUnexpired(inner, "member.until_at"))
          .as("members"),
        this.#database
          .listOf(
            eb
              .selectFrom("sallyport_group_permissions as held")
              .select(["held.permission", "held.until_at"])
              .whereRef("held.group_name", "=", "g.name")
              .where((inner) => this.#isUnexpired(inner, "held.until_at"))
              .orderBy("held.permission"),
            "permission",
            "until_at",
          )
          .as("permissions"),
      ])
      .orderBy("g.name")
      .execute();
    return rows.map((row) => ({
      name: row.name,
      members: Number(row.members),
      permissions: parseList<[string, number | null]>(row.permissions).map(([name, until]) => ({
        name,
        until,
      })),
    }));
  }

  async get(userId: string): Promise<UserDetails | undefined> {
    const { db } = this.#database;
    const user = await db
      .selectFrom("sallyport_users")
      .selectAll()
      .where("id", "=", userId)
      .executeTakeFirst();
    if (!user) return undefined;
    const groups = await db
      .selectFrom("sallyport_user_groups")
      .select(["group_name", "until_at"])
      .where("user_id", "=", userId)
      .where((eb) => this.#isUnexpired(eb, "until_at"))
      .orderBy("group_name")
      .execute();
    const direct = await db
      .selectFrom("sallyport_user_permissions")
      .select(["permission", "until_at"])
      .where("user_id", "=", userId)
      .where((eb) => this.#isUnexpired(eb, "until_at"))
      .orderBy("permission")
      .execute();
    const viaGroups = await db
      .selectFrom("sallyport_group_permissions")
      .select(["permission", "group_name", "until_at"])
      .where("group_name", "in", [...groups.map((group) => group.group_name), ""])
      .where((eb) => this.#isUnexpired(eb, "until_at"))
      .orderBy("permission")
      .orderBy("group_name")
      .execute();
    return {
      id: user.id,
      isActive: user.is_active === 1,
      isSuperuser: user.is_superuser === 1,
      groups: groups.map((group) => ({ name: group.group_name, until: instant(group.until_at) })),
      grants: [
        ...direct.map((row) => ({
          permission: row.permission,
          via: "direct" as const,
          until: instant(row.until_at),
        })),
        ...viaGroups.map((row) => ({
          permission: row.permission,
          via: { group: row.group_name },
          until: instant(row.until_at),
        })),
      ],
    };
  }

  /**
   * Returns a condition for rows that do not expire, or have not expired by the clock of the
   * database.
   */
  // biome-ignore lint/suspicious/noExplicitAny: the same column of several tables
  #isUnexpired(eb: ExpressionBuilder<any, any>, column: string) {
    return eb.or([eb(column, "is", null), eb(column, ">", this.#database.now)]);
  }
}

/** Converts a time from the database. PostgreSQL returns a BIGINT as text. */
function instant(value: number | string | null): number | null {
  return value === null ? null : Number(value);
}

/** Creates the row of a user. An existing row stays unchanged. */
export async function ensureUser(
  { now }: Pick<Database, "now">,
  db: Kysely<Tables>,
  userId: string,
): Promise<void> {
  await db
    .insertInto("sallyport_users")
    .values({ id: userId, is_active: 1, is_superuser: 0, created_at: now })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .execute();
}
