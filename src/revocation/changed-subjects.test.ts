import { expect, test } from "vitest";
import { EVERYONE } from "../storage/stores/changes.ts";
import { ChangedSubjects, type Reading } from "./changed-subjects.ts";

const reading = (fields: Partial<Reading> = {}): Reading => ({
  id: "c1",
  userId: "ann",
  sessionId: "s1",
  view: "/ws/chat",
  grants: [{ group: null }, { group: "Crew" }],
  channels: ["rooms/general"],
  ...fields,
});

test.each([
  { scope: "user", subject: "ann" },
  { scope: "group", subject: "Crew" },
  { scope: "session", subject: "s1" },
  { scope: "connection", subject: "c1" },
  { scope: "channel", subject: "rooms/general" },
  { scope: "view", subject: "/ws/chat" },
  { scope: "everyone", subject: "" },
] as const)("a reading is out of date after a change of $scope $subject", (subject) => {
  const changed = new ChangedSubjects();
  const before = changed.sequence;
  changed.mark([subject]);
  expect(changed.isStale(reading(), before)).toBe(true);
  expect(changed.isStale(reading(), changed.sequence)).toBe(false);
});

test("a reading stays valid after changes of other subjects", () => {
  const changed = new ChangedSubjects();
  const before = changed.sequence;
  changed.mark([
    { scope: "user", subject: "bob" },
    { scope: "user", subject: "s1" },
    { scope: "group", subject: "Staff" },
    { scope: "session", subject: "ann" },
    { scope: "connection", subject: "c2" },
    { scope: "channel", subject: "rooms/other" },
    { scope: "view", subject: "/ws/other" },
  ]);
  expect(changed.sequence).toBeGreaterThan(before);
  expect(changed.isStale(reading(), before)).toBe(false);
  const anonymous = reading({ userId: null, sessionId: null, grants: [], channels: [] });
  expect(changed.isStale(anonymous, before)).toBe(false);
  changed.mark([]);
  changed.mark(EVERYONE);
  expect(changed.isStale(anonymous, before)).toBe(true);
});

test("every reading is out of date after more changes than are stored", () => {
  const changed = new ChangedSubjects();
  const before = changed.sequence;
  for (let n = 0; n < 25_000; n++) changed.mark([{ scope: "user", subject: `user ${n}` }]);
  expect(changed.isStale(reading({ userId: "user 0" }), before)).toBe(true);
  expect(changed.isStale(reading({ userId: "user 24999" }), before)).toBe(true);
  expect(changed.isStale(reading(), changed.sequence)).toBe(false);
});
