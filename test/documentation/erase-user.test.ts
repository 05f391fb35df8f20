import { expect, onTestFinished, test } from "vitest";
import { handler, WebSocketView } from "../../src/index.ts";
import { definePermissions } from "../../src/permissions/define.ts";
import { World } from "../integration/world.ts";
import { readPage } from "./pages.ts";

const chat = definePermissions("chat", { use: "Can use the chat" });

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  whoami = handler(({ user }) => ({ user: user.id }));
}

/** Tables that the page lists with a time after which their rows are removed. */
const SHORT_LIVED = ["changes", "counters", "revocations", "tokens"];

test("after docs/operations/erase-user.md, only rows that are soon removed contain the user", async () => {
  const world = await World.open({ permissions: [chat], views: { "/ws/chat": ChatView } });
  onTestFinished(() => world.close());
  const { access } = world.sallyport;
  await access.grant("user-7", chat.use, { by: "admin-1", reason: "requested by user-7" });
  await access.grant("user-8", chat.use, { by: "user-7" });
  await access.users.addToGroup("user-8", "Crew", { by: "user-7" });
  await access.grant({ group: "Crew" }, chat.use, { by: "user-7" });
  const socket = await world.connect("user-7");
  await access.revoke("user-7", chat.use);
  await socket.closed;
  await world.connect("user-7").catch(() => undefined);

  await access.users.delete("user-7");
  const sql = readPage("docs/operations/erase-user.md").samples.filter(({ language }) => language === "sql");
  expect(sql).toHaveLength(2);
  for (const statement of sql.flatMap(({ code }) => code.split(";"))) {
    if (statement.trim() !== "") await world.sql(statement);
  }
  const containing = [];
  for (const table of [
    ...[
      "users",
      "groups",
      "user_permissions",
      "group_permissions",
      "user_groups",
      "connections",
      "memberships",
    ],
    ...[
      "lost_channels",
      "tokens",
      "ended_sessions",
      "counters",
      "revocations",
      "revocation_users",
      "changes",
    ],
    ...["audit", "decisions"],
  ]) {
    const rows = await world.sql(`SELECT * FROM sallyport_${table}`);
    if (JSON.stringify(rows).includes("user-7")) containing.push(table);
  }
  expect(containing.filter((table) => !SHORT_LIVED.includes(table))).toEqual([]);
  expect(await access.users.hasPermission("user-8", chat.use)).toBe(true);
});
