import { ConfigurationError } from "../../errors.ts";
import { INTERNAL } from "../../internal.ts";
import type { Sallyport } from "../../sallyport.ts";
import { quoted } from "../terminal.ts";
import { type DjangoDatabase, quoteName, type TextRow } from "./database.ts";
import type { AuthLayout, UserTable, UuidFormat } from "./layout.ts";
import { type Converted, userIdOf } from "./names.ts";
import { pagesOf } from "./pages.ts";
import type { Tally } from "./tally.ts";

/** How users are imported, and what the audit log stores. */
export interface UserImportOptions {
  /** Whether to write. Otherwise, the import only reports. */
  readonly isApplied: boolean;
  /** Who imports. It begins with {@link IMPORTED_BY}. */
  readonly by: string;
  readonly reason: string | undefined;
  readonly uuidFormat: UuidFormat;
}

/** The author of a change by an import, such as `import-django:maria`, begins with this text. */
export const IMPORTED_BY = "import-django:";
/** The maximum number of ids that several users share. With more, the column is not an id. */
const MAX_SHARED_IDS = 1000;
/** The number of entries of the audit log in which the last change of a flag is looked up. */
const MAX_ENTRIES = 1000;

interface DjangoUser {
  readonly id: string;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
}

/** The flags of a user, with their defaults and the changes that set them. */
const FLAGS = [
  { action: "set-active", field: "active", flag: "isActive", byDefault: true, words: ["inactive", "active"] },
  {
    action: "set-superuser",
    field: "superuser",
    flag: "isSuperuser",
    byDefault: false,
    words: ["no superuser", "a superuser"],
  },
] as const;
type Flag = (typeof FLAGS)[number];

interface UserContext extends UserImportOptions {
  readonly sallyport: Sallyport;
  readonly database: DjangoDatabase;
  readonly layout: AuthLayout;
  readonly tally: Tally;
}

/** Imports users with their flags. */
export class UserImport {
  readonly #context: UserContext;
  /** Ids that several users have. They are skipped, because one user would get the access of another. */
  readonly #shared: ReadonlySet<string>;

  private constructor(context: UserContext, shared: ReadonlySet<string>) {
    this.#context = context;
    this.#shared = shared;
  }

  /** @throws ConfigurationError if many users share an id */
  static async open(context: UserContext): Promise<UserImport> {
    const { name, id } = context.layout.users;
    const shared = await context.database.duplicates(name, id.name, MAX_SHARED_IDS + 1);
    if (shared.length <= MAX_SHARED_IDS) return new UserImport(context, new Set(shared));
    throw new ConfigurationError(
      `More than ${MAX_SHARED_IDS} values of the column ${quoted(id.name)} belong to several users, so it does not identify users. Pass another column to --user-id-column.`,
    );
  }

  /** Returns the user id of a value of the id column. */
  convert(text: string | null): Converted {
    const { sallyport, layout, uuidFormat } = this.#context;
    const { imports } = sallyport[INTERNAL];
    const converted = userIdOf(text, layout.users.id, uuidFormat, (...given) =>
      imports.reasonAgainst(...given),
    );
    const isShared = converted.value !== undefined && text !== null && this.#shared.has(text);
    return isShared ? { reason: "several users have this id" } : converted;
  }

  async run(): Promise<void> {
    const { database, layout, tally } = this.#context;
    const { name, key } = layout.users;
    for await (const page of pagesOf(database, {
      values: valuesOf(layout.users),
      from: `${quoteName(name)} as t`,
      key,
    })) {
      const users: DjangoUser[] = [];
      for (const { key: row, values } of page) {
        const { value, ...rest } = this.convert(values.id ?? null);
        if (value === undefined) {
          const { reason } = rest as { readonly reason: string };
          tally.note("users", "skipped", reason, values.id || `row ${row}`);
        } else users.push({ id: value, ...flagsOf(values, layout.users) });
      }
      await this.#importPage(users);
    }
  }

  async #importPage(users: readonly DjangoUser[]): Promise<void> {
    if (users.length === 0) return;
    const { sallyport, isApplied, by, reason, tally } = this.#context;
    const { imports } = sallyport[INTERNAL];
    const written = await (isApplied ? imports.add({ users }, { by, reason }) : imports.missing({ users }));
    const added = new Set(written.users.map(({ id }) => id));
    tally.count("users", "added", added.size);
    const others = users.filter(({ id }) => !added.has(id));
    const stored = new Map(
      (await imports.users(others.map(({ id }) => id))).map((user) => [user.id, user] as const),
    );
    for (const user of others) {
      const differing = FLAGS.filter(({ flag }) => (stored.get(user.id) ?? user)[flag] !== user[flag]);
      if (differing.length === 0) tally.count("users", "kept");
      for (const flag of differing) await this.#changeFlag(user, flag);
    }
  }

  /** Changes a flag of a stored user, or reports why it stays as it is. */
  async #changeFlag(user: DjangoUser, flag: Flag): Promise<void> {
    const { sallyport, isApplied, by, reason, tally } = this.#context;
    const { id } = user;
    const value = user[flag.flag];
    const state = flag.words[value ? 1 : 0];
    if (!(await this.#canChange(user, flag))) {
      const kept = flag.words[value ? 0 : 1];
      tally.note(
        "users",
        "kept",
        `${kept} in Sallyport, which no import has set, but ${state} in Django`,
        id,
      );
      return;
    }
    if (isApplied) {
      const change =
        flag.action === "set-active"
          ? ({ kind: "set-active", user: id, active: value } as const)
          : ({ kind: "set-superuser", user: id, superuser: value } as const);
      await sallyport.access.change(change, { by, reason });
    }
    tally.note("users", "changed", `${state} in Django`, id);
  }

  /**
   * Returns whether the import may change a flag. A user that is inactive in Django always becomes
   * inactive. Otherwise, the present value must be the default, or set by an earlier import.
   */
  async #canChange(user: DjangoUser, { action, flag, byDefault }: Flag): Promise<boolean> {
    const value = user[flag];
    if (action === "set-active" && !value) return true;
    const entries = await this.#context.sallyport.access.audit.list({ user: user.id, limit: MAX_ENTRIES });
    const last = entries.find((entry) => entry.action === action);
    if (last === undefined) return value !== byDefault && entries.length < MAX_ENTRIES;
    return last.by?.startsWith(IMPORTED_BY) ?? false;
  }
}

function valuesOf({ id, hasActive, hasSuperuser }: UserTable): Readonly<Record<string, string>> {
  return {
    id: `t.${quoteName(id.name)}`,
    ...(hasActive ? { active: "t.is_active" } : {}),
    ...(hasSuperuser ? { superuser: "t.is_superuser" } : {}),
  };
}

/** A user model without a column `is_active` has only active users. Any other value than true is inactive. */
function flagsOf(values: TextRow, { hasActive, hasSuperuser }: UserTable) {
  const isTrue = (text: string | null | undefined) => text === "1" || text === "true";
  return {
    isActive: !hasActive || isTrue(values.active),
    isSuperuser: hasSuperuser && isTrue(values.superuser),
  };
}
