import type { Kysely } from "kysely";
import type { Database, Tables } from "../storage/database.ts";
import type { Rule } from "./rules.ts";

/** A rule that the code declares. */
export interface DeclaredRule {
  readonly kind: Tables["sallyport_rules"]["kind"];
  /**
   * The path of a view, the path and the name of a handler with a space between, or the pattern of
   * a channel.
   */
  readonly name: string;
  readonly rule: Rule & {
    /** Whether an `authorize` function is called in addition. */
    readonly hasAuthorize: boolean;
  };
}

/**
 * The rules of the code that ran `migrate` last. The rules of a later version are compared with
 * them.
 */
export class DeclaredRules {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Returns the recorded rules, ordered by kind and name. */
  async list(db: Kysely<Tables> = this.#database.db): Promise<readonly DeclaredRule[]> {
    const rows = await db
      .selectFrom("sallyport_rules")
      .select(["kind", "name", "rule"])
      .orderBy("kind")
      .orderBy("name")
      .execute();
    return rows.map(({ kind, name, rule }) => ({
      kind,
      name,
      rule: JSON.parse(rule) as DeclaredRule["rule"],
    }));
  }

  /** Replaces the recorded rules. */
  async record(db: Kysely<Tables>, rules: readonly DeclaredRule[]): Promise<void> {
    await db.deleteFrom("sallyport_rules").execute();
    for (const { kind, name, rule } of rules) {
      await db
        .insertInto("sallyport_rules")
        .values({ kind, name, rule: JSON.stringify(rule), recorded_at: this.#database.now })
        .execute();
    }
  }
}
