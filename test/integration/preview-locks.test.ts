import { expect, test } from "vitest";
import { changedStorage, isPostgres, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

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
          storage.rollbackTransaction(async (db) => {
            const result = await work(db);
            await during();
            return result;
          }),
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
    during = async () => {
      await access.grant("eve", chat.can_use_chat);
      await access.revoke("bob", chat.can_use_chat);
      await world.connect("ann");
      isDone = true;
    };
    const audit = (await access.audit.list()).length;
    const preview = await access.preview({ kind: "delete-group", group: "Staff" });
    expect(isDone).toBe(true);
    expect(preview).toMatchObject({
      changed: true,
      users: [{ user: "ann", gains: [], loses: ["chat.can_use_chat"] }],
      connections: [{ user: "ann" }],
    });
    // Only the two changes that were made during the preview were recorded.
    expect((await access.audit.list()).length).toBe(audit + 2);
    expect(await ann.call("whoami")).toMatchObject({ ok: true });
    for (const change of [
      { kind: "revoke", holder: { group: "Staff" }, permission: chat.can_use_chat },
      { kind: "delete-user", user: "ann" },
      { kind: "set-active", user: "ann", active: false },
    ] as const) {
      isDone = false;
      expect(await access.preview(change)).toMatchObject({ changed: true });
      expect(isDone).toBe(true);
    }
  } finally {
    await world.close();
  }
});
