import type { CompiledQuery, Kysely, QueryExecutor } from "kysely";
import { expect, test } from "vitest";
import type { Tables } from "../../src/storage/database.ts";
import { changedStorage, isPostgres, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

/** Tables, each with the columns that identify a row. Every row of them can be locked by a preview. */
const TABLES = {
  users: "id",
  groups: "name",
  permissions: "name",
  user_permissions: "user_id || ' ' || permission",
  group_permissions: "group_name || ' ' || permission",
  user_groups: "user_id || ' ' || group_name",
  connections: "user_id",
  memberships: "channel",
  tokens: "user_id",
  counters: "key",
  changes: "subject",
  revocations: "subject",
  audit: "action",
};

/** Returns a transaction that calls `hook` before each raw statement that matches. */
function beforeStatement(db: Kysely<Tables>, pattern: RegExp, hook: () => Promise<unknown>): Kysely<Tables> {
  const withHook = (executor: QueryExecutor): QueryExecutor =>
    changed(executor, "executeQuery", (async (query: CompiledQuery) => {
      if (pattern.test(query.sql)) await hook();
      return executor.executeQuery(query);
    }) as QueryExecutor["executeQuery"]);
  return changed(db, "getExecutor", () => withHook(db.getExecutor()));
}

function changed<Target extends object, Name extends keyof Target>(
  target: Target,
  method: Name,
  replacement: Target[Name],
): Target {
  return new Proxy(target, {
    get(_target, name) {
      if (name === method) return replacement;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Returns the rows that a transaction in flight has locked or changed. */
async function lockedRows(world: World): Promise<readonly string[]> {
  const selects = Object.entries(TABLES).map(
    ([table, key]) =>
      `select '${table}: ' || ${key} as locked from sallyport_${table}
       where ctid not in (select ctid from sallyport_${table} for update skip locked)`,
  );
  const rows: string[] = [];
  for (const select of selects)
    rows.push(...((await world.sql(select)) as { locked: string }[]).map(({ locked }) => locked));
  return rows.sort();
}

test("a preview does not block other changes on PostgreSQL, and changes nothing itself", async ({ skip }) => {
  if (!isPostgres) skip("SQLite has one writer at a time, and a preview is a writer");
  let during: () => Promise<unknown> = async () => undefined;
  const world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    instances: 1,
    storage: (source) => {
      const storage = storageAt(source);
      return changedStorage(storage, {
        rollbackTransaction: (work) =>
          storage.rollbackTransaction((db) =>
            // At this statement, everything was read and the change is not undone yet.
            work(beforeStatement(db, /^rollback to savepoint/, () => during())),
          ),
      });
    },
  });
  try {
    const { access } = world.sallyport;
    await access.users.addToGroup("ann", "Staff");
    await access.grant({ group: "Staff" }, chat.can_use_chat);
    const ann = await world.connect("ann");
    await access.grant("bob", chat.can_use_chat);
    let isDone = false;
    let locked: readonly string[] = [];
    during = async () => {
      locked = await lockedRows(world);
      await access.grant("eve", chat.can_use_chat);
      await access.revoke("bob", chat.can_use_chat);
      await world.connect("gus", { channel: "rooms/a" });
      isDone = true;
    };
    // A user with a permission that no preview concerns.
    await access.grant("gus", chat.can_use_chat);
    const audit = (await access.audit.list()).length;
    const preview = await access.preview({ kind: "delete-group", group: "Staff" });
    expect(isDone).toBe(true);
    // Only the rows of the change, and not those that are read.
    const membership = "user_groups: ann Staff";
    const grant = "group_permissions: Staff chat.can_use_chat";
    expect(locked).toEqual([grant, "groups: Staff", membership]);
    expect(preview).toMatchObject({
      changed: true,
      users: [{ user: "ann", gains: [], loses: ["chat.can_use_chat"] }],
      connections: [{ user: "ann" }],
    });
    // Only the two changes that were made during the preview were recorded.
    expect((await access.audit.list()).length).toBe(audit + 2);
    expect(await ann.call("whoami")).toMatchObject({ ok: true });
    for (const [change, expected] of [
      [{ kind: "revoke", holder: { group: "Staff" }, permission: chat.can_use_chat }, [grant]],
      [{ kind: "delete-user", user: "ann" }, ["connections: ann", "tokens: ann", membership, "users: ann"]],
      [{ kind: "set-active", user: "ann", active: false }, ["users: ann"]],
      [
        { kind: "grant", holder: "ann", permission: chat.can_moderate_chat },
        ["permissions: chat.can_moderate_chat", "users: ann"],
      ],
    ] as const) {
      isDone = false;
      expect(await access.preview(change)).toMatchObject({ changed: true });
      expect(isDone).toBe(true);
      expect(locked).toEqual(expected);
    }
  } finally {
    await world.close();
  }
});
