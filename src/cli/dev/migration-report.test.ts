import { expect, test } from "vitest";
import { describeMigration } from "./migration-report.ts";

const NOTHING = { migrations: [], added: [], rules: [] };

test("a migration that changed nothing has no description", () => {
  expect(describeMigration(NOTHING)).toBeUndefined();
});

test("describes each kind of change", () => {
  const rules = [
    { kind: "handler", name: "/ws/chat send", change: "removed", widens: false },
    { kind: "sending", name: "rooms/:id", change: "changed", widens: true },
  ] as const;
  expect(describeMigration({ migrations: ["007_x"], added: ["chat.use"], rules })).toBe(
    "The database was updated: migration 007_x applied, permission chat.use added, handler /ws/chat send removed, send rule of rooms/:id changed.",
  );
});

test("lists at most five changes", () => {
  const added = ["a.a", "a.b", "a.c", "a.d", "a.e", "a.f", "a.g"];
  expect(describeMigration({ ...NOTHING, added })).toMatch(/permission a\.e added, and 2 more\.$/);
  expect(describeMigration({ ...NOTHING, added: added.slice(0, 5) })).toMatch(/permission a\.e added\.$/);
});
