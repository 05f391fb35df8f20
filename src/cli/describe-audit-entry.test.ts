import { describe, expect, test } from "vitest";
import type { AuditEntry } from "../index.ts";
import { auditDetailLines, describeAuditEntry } from "./describe-audit-entry.ts";

const names = { label: () => null, name: (id: string | null) => id ?? "no user" };

function entry(action: string, fields: Partial<AuditEntry> = {}): AuditEntry {
  const empty = { number: 1, at: 0, by: "ann", reason: null, user: null, group: null, permission: null };
  return { ...empty, details: {}, ...fields, action } as AuditEntry;
}

describe("an entry of the audit log", () => {
  test.each<[action: string, fields: Partial<AuditEntry>, text: string]>([
    ["prune-permissions", { details: { permissions: ["chat.a", "chat.b"] } }, "pruned chat.a, chat.b"],
    ["recheck", { details: { channel: "rooms/x" } }, 'rechecked every authorize for the channel "rooms/x"'],
    ["recheck", { user: "u1" }, "rechecked every authorize for u1"],
    [
      "close-connections",
      { details: { audience: { channel: "rooms/x" } } },
      'closed the connections in the channel "rooms/x"',
    ],
    [
      "close-connections",
      { user: "u1", details: { audience: { user: "u1" } } },
      "closed the connections of u1",
    ],
    [
      "close-connections",
      { user: "u1", details: { audience: { connection: "7" } } },
      "closed the connection 7, which belonged to u1",
    ],
    [
      "close-connections",
      { details: { audience: { connectionId: "MjQ=" } } },
      "closed the connection with the connectionId MjQ=",
    ],
    [
      "close-connections",
      { details: { audience: { permission: "chat.a" } } },
      "closed the connections of the users with chat.a",
    ],
    ["close-connections", { details: { audience: "everyone" } }, "closed all connections"],
    ["clear-limits", { details: { cleared: 1 } }, "cleared 1 limit of everyone"],
    [
      "clear-limits",
      { details: { cleared: 2, address: "192.0.2.1" } },
      "cleared 2 limits of the address 192.0.2.1",
    ],
    ["rules-changed", { details: { rules: [{}] } }, "stored 1 changed rule"],
    [
      "provision",
      { details: { run: "apply", gateway: "chat", steps: ["a"] } },
      'ran gateway apply for "chat"',
    ],
    ["archive", { details: { to: "s3" } }, 'archive {"to":"s3"}'],
  ])("%s is described: %j", (action, fields, text) => {
    expect(describeAuditEntry(entry(action, fields), names)).toBe(text);
  });

  test("of a run of gateway lists its steps, and those with an unknown result", () => {
    const details = {
      run: "apply",
      gateway: "chat",
      steps: ["create API", "create stage"],
      perhaps: ["create route"],
    };
    expect(auditDetailLines(entry("provision", { details }))).toEqual([
      "create API",
      "create stage",
      "result unknown, AWS may have applied it: create route",
    ]);
  });

  test("of changed rules from an earlier version lists them without their previous form", () => {
    const rule = { kind: "view", name: "/ws/chat", change: "changed", widens: true };
    const rules = [rule, { ...rule, change: "added", name: "/ws/new" }, { kind: "handler" }, null, "text"];
    expect(auditDetailLines(entry("rules-changed", { details: { rules } }))).toEqual([
      "WIDENS  view /ws/chat: changed",
      "view /ws/new: new",
    ]);
    expect(auditDetailLines(entry("rules-changed", { details: { rules: "unknown" } }))).toEqual([]);
    expect(auditDetailLines(entry("grant"))).toEqual([]);
  });

  test("lists at most 50 lines", () => {
    const steps = Array.from({ length: 60 }, (_, index) => `create route ${index}`);
    const lines = auditDetailLines(entry("provision", { details: { run: "apply", gateway: "chat", steps } }));
    expect(lines).toHaveLength(51);
    expect(lines.at(-1)).toBe("and 10 more (--json lists all)");
  });
});
