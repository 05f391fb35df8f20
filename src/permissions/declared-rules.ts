import type { Kysely } from "kysely";
import type { Database, Tables } from "../storage/database.ts";
import type { Rule } from "./rules.ts";

/** A rule as the code declares it. */
export interface DeclaredRule {
  readonly kind: Tables["sallyport_rules"]["kind"];
  /** Path of the view, path and name of the handler with a space between, or the channel's pattern. */
  readonly name: string;
  readonly rule: Rule & {
    /** Whether a hook about the data has the last word. */
    readonly asksData: boolean;
  };
}

/** The declared rules of the code that ran `migrate` last: what a later version is compared with. */
export class DeclaredRules {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

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

  /** Replaces what was recorded before. */
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
