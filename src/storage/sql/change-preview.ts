import type { Kysely } from "kysely";
import { yieldToEventLoop } from "../../timing.ts";
import type { Database, Tables } from "../database.ts";
import type { AppliedChange, PreviewedChange } from "../stores/changes.ts";
import { CONNECTION_PAGE, type ConnectionWithChannels } from "../stores/connections.ts";
import { selectorOf } from "../stores/revocations.ts";
import { type Subject, USER_PAGE } from "../stores/users.ts";
import type { SqlConnections } from "./connections.ts";
import type { SqlRevocations } from "./revocations.ts";
import type { SqlUserSelector, SqlUsers } from "./users.ts";

/** Reads the users and connections that a change would affect, in a transaction. */
export class ChangePreview {
  readonly #database: Database;
  readonly #users: SqlUsers;
  readonly #connections: SqlConnections;
  readonly #revocations: SqlRevocations;

  constructor(
    database: Database,
    nouns: {
      readonly users: SqlUsers;
      readonly connections: SqlConnections;
      readonly revocations: SqlRevocations;
    },
  ) {
    this.#database = database;
    this.#users = nouns.users;
    this.#connections = nouns.connections;
    this.#revocations = nouns.revocations;
  }

  /**
   * Makes a change, reads its effects, and undoes it. The transaction must be rolled back.
   *
   * @param write makes the change
   */
  async read(db: Kysely<Tables>, write: () => Promise<AppliedChange>): Promise<PreviewedChange> {
    await this.#database.sql`savepoint before_change`.execute(db);
    const applied = await write();
    const users = usersOf(applied);
    const after = users ? await this.#allSubjects(db, users) : [];
    const connections = applied.affected ? await this.#allConnections(db, applied) : [];
    // Deleting a group deletes its members, so the affected users are read from the revocation
    // record.
    const listed =
      applied.revocationId === undefined ? [] : await this.#revocations.listed(db, applied.revocationId);
    await this.#database.sql`rollback to savepoint before_change`.execute(db);
    const before: Subject[] = [];
    if (users?.kind === "listed") {
      for (let from = 0; from < listed.length; from += USER_PAGE) {
        const ids = listed.slice(from, from + USER_PAGE);
        before.push(...(await this.#users.subjectsIn(db, { kind: "these", ids }, "")));
        await yieldToEventLoop();
      }
    } else if (users) before.push(...(await this.#allSubjects(db, users)));
    return { applied, before, after, connections };
  }

  async #allSubjects(db: Kysely<Tables>, users: SqlUserSelector): Promise<Subject[]> {
    const all: Subject[] = [];
    for await (const page of this.#users.pagesIn(db, users)) all.push(...page);
    return all;
  }

  async #allConnections(
    db: Kysely<Tables>,
    { affected, revocationId }: AppliedChange,
  ): Promise<ConnectionWithChannels[]> {
    if (!affected || revocationId === undefined) return [];
    const subject = "subject" in affected ? affected.subject : "";
    const selector = selectorOf({ id: revocationId, scope: affected.scope, subject });
    const all: ConnectionWithChannels[] = [];
    for (let after = ""; ; ) {
      const page = await this.#connections.pageIn(db, selector, after);
      all.push(...page);
      await yieldToEventLoop();
      after = page.at(-1)?.id ?? "";
      if (page.length < CONNECTION_PAGE) return all;
    }
  }
}

function usersOf({ affected, revocationId }: AppliedChange): SqlUserSelector | undefined {
  switch (affected?.scope) {
    case "user":
    case "deleted-user":
      return { kind: "user", userId: affected.subject };
    case "group":
      return { kind: "group", group: affected.subject };
    case "users":
      return revocationId === undefined ? undefined : { kind: "listed", revocationId };
    default:
      return undefined;
  }
}
